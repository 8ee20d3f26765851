"""Embeddings: sets have no order, sequences and images have one, all of them are files."""

from __future__ import annotations

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import probinf as pi
from probinf.amortized import CNN, NPE, Embedding, SetEmbedding, SetTransformer, load
from probinf.amortized.nets import attention
from probinf.errors import ModelError, SavedFileError, StructureError

SMALL = {"layers": 1, "hidden": (8,), "bins": 4}
ROWS = jax.random.normal(jax.random.key(1), (9, 3))
MASK = jnp.arange(9) < 6


def trained(network):
    """Every array moved, since blocks start as the identity and would be symmetric in any case."""
    leaves, tree = jax.tree.flatten(network)
    keys = jax.random.split(jax.random.key(9), len(leaves))
    moved = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape) if eqx.is_inexact_array(leaf) else leaf
        for leaf, key in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


def changes(network) -> tuple[float, float]:
    """By an order of the data, and by what a mask hides; relative to the effect of a datum."""
    out = network(ROWS, MASK)
    order = np.concatenate([np.random.default_rng(1).permutation(6), np.arange(6, 9)])
    hidden = jnp.where(MASK[:, None], ROWS, 100.0)
    moved = ROWS + 0.5 * jnp.eye(9, 3)
    scale = float(jnp.abs(network(moved, MASK) - out).max())
    gaps = [network(ROWS[order], MASK) - out, network(hidden, MASK) - out]
    return tuple(float(jnp.abs(gap).max()) / scale for gap in gaps)


@pytest.mark.parametrize("options", [SetEmbedding((16,), 4, 2), SetTransformer(16, 2, 2, 2, 4)])
def test_a_set_has_neither_order_nor_hidden_data(options) -> None:
    network = trained(options.build(jax.random.key(0), (3,)))
    assert max(changes(network)) < 1e-4
    shorter = network(ROWS[:6], MASK[:6])
    np.testing.assert_allclose(shorter, network(ROWS, MASK), rtol=1e-4, atol=1e-5)


def test_positions_or_a_forgotten_mask_break_the_law(monkeypatch) -> None:
    """The mutants: tokens that know their place, and attention to what is hidden."""
    network = trained(SetTransformer(16, 2, 2, 2, 4).build(jax.random.key(0), (3,)))
    each = type(network.each).__call__

    def placed(self, x):
        found = each(self, x)
        return found.at[:, 0].add(jnp.arange(9.0)) if found.shape == (9, 16) else found

    with monkeypatch.context() as patched:
        patched.setattr(attention.Dense, "__call__", placed)
        assert changes(network)[0] > 0.1
    monkeypatch.setattr(attention, "_HIDDEN", 0.0)
    assert changes(network)[1] > 0.1


def wave(y=None):
    """A frequency in a sequence of two channels."""
    f = numpyro.sample("f", dist.Uniform(0.2, 1.0))
    t = jnp.arange(24.0)
    mean = jnp.stack([jnp.sin(f * t), jnp.cos(f * t)], -1)
    numpyro.sample("y", dist.Normal(mean, 0.5).to_event(2), obs=y)


@pytest.mark.slow
def test_a_sequence_is_learned_and_saved(tmp_path) -> None:
    y = np.random.default_rng(0).normal(size=(24, 2))
    program = pi.from_numpyro(wave, y=y)
    method = NPE(simulations=2000, embedding=CNN(channels=(8, 8), size=8), **SMALL)
    fitted = method.fit(program, key=0, steps=400, progress=False)
    assert fitted.training.validation_losses[-1, 1] < fitted.training.validation_losses[0, 1] - 0.3
    fitted.save(tmp_path / "wave.safetensors")
    again = load(tmp_path / "wave.safetensors").with_program(program)
    x = {"f": jnp.asarray(0.2)}
    one, other = (f.posterior(y) for f in (fitted, again))
    assert one.score(x, one.data).log_base == other.score(x, other.data).log_base


def test_images_and_sequences_of_any_shape() -> None:
    for axes, shape in ((1, (7,)), (1, (2, 3)), (2, (9, 5, 3))):
        network = CNN(axes=axes, size=5).build(jax.random.key(0), shape)
        assert network(jnp.ones(shape)).shape == (5,)
        flipped = jnp.arange(float(np.prod(shape))).reshape(shape)
        assert jnp.abs(network(flipped) - network(flipped[::-1])).max() > 1e-3  # order matters


@pytest.mark.parametrize("options", [SetEmbedding(), SetTransformer(), CNN(2, (4, 8))])
def test_a_file_holds_options_not_code(options) -> None:
    assert Embedding.restored(json.loads(json.dumps(options.stored()))) == options


def test_an_embedding_of_ones_own_comes_back_once_it_is_imported() -> None:
    with pytest.raises(SavedFileError, match=r"kind 'first_rows'.*'set_transformer'.*Import"):
        Embedding.restored({"kind": "first_rows", "size": 3})

    @dataclasses.dataclass(frozen=True)
    class FirstRows(Embedding):
        kind = "first_rows"
        size: int = 2

        def build(self, key, shape):
            raise NotImplementedError

    assert Embedding.restored(FirstRows(3).stored()) == FirstRows(3)


def test_embeddings_that_do_not_fit_are_named() -> None:
    program = pi.from_numpyro(wave, y=np.zeros((24, 2)))

    def prepare(embedding):
        NPE(simulations=100, embedding=embedding, **SMALL).prepare(jax.random.key(0), program)

    with pytest.raises(StructureError, match=r"CNN\(axes=2\) takes .* shape \(24,\)"):
        CNN(axes=2).build(jax.random.key(0), (24,))
    with pytest.raises(ModelError, match="heads divide the width"):
        SetTransformer(width=10, heads=4)
    with pytest.raises(ModelError, match="axes must be 1 or 2"):
        CNN(axes=3)
    with pytest.raises(ModelError, match="embedding must be None, SetEmbedding"):
        prepare("cnn")
    with pytest.raises(ModelError, match="embedding must be None, SetEmbedding"):
        prepare(SetEmbedding)
    for wrong in ({"hidden": ()}, {"means": 0}, {"size": 0}):
        with pytest.raises(ModelError, match="widths, size and means are positive whole numbers"):
            SetEmbedding(**wrong)
    prepare(jnp.ravel)  # any function of a data set, with or without something to train
