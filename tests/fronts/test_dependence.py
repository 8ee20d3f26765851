"""What depends on what, through loops and branches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from probinf.fronts.dependence import dependence


def outputs(values):
    a, b, c = values["a"], values["b"], values["c"]

    def step(carry, now):
        x, y = carry
        return (x * a, y + now), (x + now, y)

    (x, y), (both, only_b) = jax.lax.scan(step, (1.0, 0.0), b)
    chosen = jax.lax.cond(c > 0, lambda v: v[0], lambda v: 2 * v[1], (a, jnp.zeros(())))
    count = jax.lax.while_loop(lambda n: n < c, lambda n: n + 1, 0.0)
    return {
        "x": x,
        "y": [y, both, only_b],
        "chosen": chosen,
        "count": count,
        "jitted": jax.jit(lambda v: (v[1], v[0]))((a, c)),
        "none": jnp.zeros(3),
        "itself": b,
    }


def test_every_way_is_followed() -> None:
    values = {"a": jnp.float32(2.0), "b": jnp.ones(4), "c": jnp.float32(3.0)}
    found = dependence(outputs, values)
    sets = {name: [set(s) for s in jax.tree.leaves(v)] for name, v in found.items()}
    assert sets == {
        "x": [{"a"}],
        "y": [{"b"}, {"a", "b"}, {"b"}],
        "chosen": [{"a", "c"}],
        "count": [{"c"}],
        "jitted": [{"c"}, {"a"}],
        "none": [set()],
        "itself": [{"b"}],
    }
    shuffled = dict(reversed(list(values.items())))
    assert jax.tree.leaves(dependence(outputs, shuffled)) == jax.tree.leaves(found)
    assert np.isfinite(outputs(values)["x"])
