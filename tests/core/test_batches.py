"""Rows in batches: what vmap gives, from one trace, whatever is left over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from probinf.core.batches import batches, mapped


@pytest.mark.parametrize(("count", "size"), [(1, 4), (4, 4), (5, 4), (8, 4), (9, 4), (12, 5)])
def test_the_same_as_vmap_from_one_trace(count, size):
    traced = []

    def fn(row):
        key, x, nothing = row
        traced.append(x.shape)
        return x**2 + jax.random.normal(key), nothing

    keys = jax.random.split(jax.random.key(0), count)
    rows = keys, jnp.arange(count * 3.0).reshape(count, 3), jnp.zeros((count, 0))
    found = jax.jit(lambda rows: mapped(fn, rows, size))(rows)
    assert traced == [(3,)]  # lax.map(batch_size=) traces what is left over once more
    for a, b in zip(found, jax.vmap(fn)(rows), strict=True):
        assert a.shape == b.shape
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("count", "size"), [(4, 4), (5, 4), (9, 4)])
def test_batches_cover_every_row_once(count, size):
    rows = [row for b in batches(count, size) for row in range(b.start + b.known, b.stop)]
    assert rows == list(range(count))
    assert all(b.stop - b.start == size for b in batches(count, size))
