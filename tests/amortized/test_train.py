"""The training engine: deterministic, resumable, loud."""

from __future__ import annotations

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import probinf as pi
from probinf.amortized.training import step as step_module
from probinf.amortized.training.step import Settings, schedule
from probinf.errors import SavedFileError, TrainingError, TrainingWarning

TRACES: list[str] = []


class Line(eqx.Module):
    slope: jax.Array
    name: str = eqx.field(static=True, default="line")


def regression(model: Line, data: jax.Array, key: jax.Array) -> jax.Array:
    TRACES.append(model.name)
    x = jax.random.normal(key, (64,))
    return jnp.mean((model.slope * x - data * x) ** 2)


def broken_sometimes(model: Line, data: jax.Array, key: jax.Array) -> jax.Array:
    loss = regression(model, jnp.ones(()), key)
    return jnp.where(jax.random.uniform(key) < data, jnp.nan, loss)


def start() -> Line:
    return Line(jnp.zeros(()))


def test_finds_the_minimum_and_depends_on_the_key_alone() -> None:
    first = pi.amortized.train(
        start(), regression, key=0, steps=300, data=jnp.asarray(3.0), learning_rate=0.1
    )
    assert abs(float(first.model.slope) - 3) < 1e-2
    assert first.losses.shape == (300,) and first.losses[-1] < 1e-3
    again = pi.amortized.train(
        start(), regression, key=0, steps=300, data=jnp.asarray(3.0), learning_rate=0.1, chunk=7
    )
    assert np.array_equal(first.losses, again.losses)  # chunks change nothing
    other = pi.amortized.train(
        start(), regression, key=1, steps=300, data=jnp.asarray(3.0), learning_rate=0.1
    )
    assert not np.array_equal(first.losses, other.losses)


def test_new_data_steps_and_rates_do_not_compile_again() -> None:
    pi.amortized.train(start(), regression, key=0, steps=20, data=jnp.asarray(3.0))
    TRACES.clear()
    pi.amortized.train(
        start(), regression, key=5, steps=40, data=jnp.asarray(1.0), learning_rate=0.02, clip=0.3
    )
    assert len(TRACES) <= 1  # one abstract look at the loss's shape, no compilation


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path, monkeypatch) -> None:
    options = dict(key=3, steps=60, data=jnp.asarray(2.0), validation=regression, chunk=10)
    whole = pi.amortized.train(start(), regression, **options)
    from probinf.amortized.training.checkpoint import TrainingCheckpoint

    save, count = TrainingCheckpoint.save, []

    def interrupted(self, *args) -> None:
        save(self, *args)
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingCheckpoint, "save", interrupted)
    with pytest.warns(TrainingWarning, match="interrupted after 30 of 60"):
        part = pi.amortized.train(start(), regression, **options, checkpoint=tmp_path / "run")
    assert part.steps == 30
    resumed = pi.amortized.train(start(), regression, **options, checkpoint=tmp_path / "run")
    assert np.array_equal(resumed.losses, whole.losses)
    assert np.array_equal(resumed.validation_losses, whole.validation_losses)
    assert np.array_equal(resumed.model.slope, whole.model.slope)


def test_a_checkpoint_of_another_training_is_refused(tmp_path) -> None:
    folder = tmp_path / "run"
    pi.amortized.train(start(), regression, key=0, steps=10, data=jnp.ones(()), checkpoint=folder)
    with pytest.raises(SavedFileError, match="key differ"):
        pi.amortized.train(
            start(), regression, key=1, steps=10, data=jnp.ones(()), checkpoint=folder
        )
    with pytest.raises(SavedFileError, match="start differ"):
        pi.amortized.train(
            start(), regression, key=0, steps=10, data=jnp.zeros(()), checkpoint=folder
        )
    file = next(folder.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(SavedFileError, match="checksum"):
        pi.amortized.train(
            start(), regression, key=0, steps=10, data=jnp.ones(()), checkpoint=folder
        )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    with pytest.raises(SavedFileError, match="something else"):
        pi.amortized.train(
            start(), regression, key=0, steps=10, data=jnp.ones(()), checkpoint=tmp_path / "full"
        )


def test_a_checkpoint_is_recognised_whatever_the_order_of_its_arrays() -> None:
    from probinf.amortized.training.checkpoint import fingerprint

    low, high = jnp.asarray(-1.0), jnp.asarray(1.0)
    assert fingerprint((low, high)) == fingerprint((high, low))  # NumPyro's order varies
    assert fingerprint((low, high)) != fingerprint((low, 2 * high))
    assert fingerprint(jnp.ones(2)) != fingerprint(jnp.ones((2, 1)))


def noisy_validation(model: Line, data: jax.Array, key: jax.Array) -> jax.Array:
    return (model.slope - 1.0) ** 2


def test_early_stopping_returns_the_best_network() -> None:
    # the loss pulls the slope to 3, the validation loss likes 1
    found = pi.amortized.train(
        start(), regression, key=0, steps=2000, data=jnp.asarray(3.0), learning_rate=0.02,
        validation=noisy_validation, patience=3, chunk=10,
    )  # fmt: skip
    assert found.steps < 1000
    assert abs(float(found.model.slope) - 1) < 0.15
    best = found.validation_losses[:, 1].min()
    assert best == pytest.approx(float(noisy_validation(found.model, None, None)), abs=1e-6)


def test_rare_nan_is_left_out_and_counted_frequent_nan_refused() -> None:
    with pytest.warns(TrainingWarning, match="left out"):
        found = pi.amortized.train(
            start(), broken_sometimes, key=0, steps=1500, data=jnp.asarray(0.004),
            learning_rate=0.05,
        )  # fmt: skip
    assert found.lost == np.isnan(found.losses).sum() > 0
    assert abs(float(found.model.slope) - 1) < 1e-2  # and the network did not become NaN
    for steps in (10, 400):
        with pytest.raises(TrainingError, match="NaN or infinite"):
            pi.amortized.train(start(), broken_sometimes, key=0, steps=steps, data=jnp.asarray(0.5))


def test_schedule_and_own_optimizer() -> None:
    settings = Settings(*(jnp.asarray(v) for v in (100.0, 0.1, 0.1, 1.0)))
    rates = [float(schedule(jnp.asarray(k), settings)) for k in (0, 9, 10, 55, 100)]
    np.testing.assert_allclose(rates, [0.01, 0.1, 0.1, 0.05, 0.0], atol=1e-6)
    found = pi.amortized.train(
        start(), regression, key=0, steps=200, data=jnp.asarray(3.0),
        optimizer=optax.sgd(0.2), clip=None,
    )  # fmt: skip
    assert abs(float(found.model.slope) - 3) < 1e-3


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"steps": 0}, "steps"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"warmup": 1.0}, "warmup"),
        ({"clip": 0.0}, "clip"),
        ({"patience": 2}, "validation"),
        ({"chunk": 0}, "chunk"),
    ],
)
def test_bad_options(options: dict, match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        pi.amortized.train(
            start(), regression, **{"key": 0, "steps": 5, "data": jnp.ones(()), **options}
        )


def test_a_loss_that_is_no_scalar() -> None:
    with pytest.raises(TrainingError, match="one real number"):
        pi.amortized.train(
            start(), lambda m, d, k: m.slope * jnp.ones(3), key=0, steps=5, data=jnp.ones(())
        )


def jumping(model: Line, data: jax.Array, key: jax.Array) -> jax.Array:
    """Every step sees another centre around 3."""
    return (model.slope - 3.0 - jax.random.normal(key)) ** 2


def near_three(model: Line, data: jax.Array, key: jax.Array) -> jax.Array:
    return (model.slope - 3.0) ** 2


def last_errors() -> np.ndarray:
    """Errors of the network that validation keeps, for eight keys."""
    found = [
        pi.amortized.train(
            start(), jumping, key=key, steps=2000, optimizer=optax.sgd(0.2), clip=None,
            validation=near_three, chunk=2000, progress=False,
        )
        for key in range(8)
    ]  # fmt: skip
    return np.array([float(trained.model.slope) - 3 for trained in found])


def test_what_validation_keeps_is_an_average(monkeypatch: pytest.MonkeyPatch) -> None:
    # single steps have sd .5 around 3, averages of the last ninth .05
    assert np.sqrt(np.mean(last_errors() ** 2)) < 0.12
    monkeypatch.setattr(step_module, "_MEMORY", 1.0)  # the mutant: the last network alone
    jax.clear_caches()
    try:
        assert np.sqrt(np.mean(last_errors() ** 2)) > 0.2
    finally:
        jax.clear_caches()


def test_a_checkpoint_of_another_version_is_refused_with_the_remedy(tmp_path) -> None:
    folder = tmp_path / "run"
    options = dict(key=0, steps=10, data=jnp.ones(()), checkpoint=folder)
    pi.amortized.train(start(), regression, **options)
    manifest = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps({**manifest, "schema": 1}))
    with pytest.raises(SavedFileError, match=r"schema 1.* Train again in another folder"):
        pi.amortized.train(start(), regression, **options)
    manifest["taken"] = 3
    (folder / "training.json").write_text(json.dumps(manifest))
    with pytest.raises(SavedFileError, match="edited"):
        pi.amortized.train(start(), regression, **options)
