"""Selection without a split by any learner, and synthetic scores class by class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import probinf.conformal as pc
from probinf.errors import ArrayError, MethodError

S = pc.selection


def ridge(x, label, new):
    a = np.column_stack([x, np.ones(len(x))])
    gram = a.T @ a + np.diag([0.5] * x.shape[1] + [1e-9])
    return np.column_stack([new, np.ones(len(new))]) @ np.linalg.solve(gram, a.T @ label)


def test_leaving_out_single_points_is_the_closed_form():
    rng = np.random.default_rng(1)
    x, large = rng.normal(size=(20, 3)), np.arange(12) % 2 == 0
    expected = S.joint_leave_one_out(x[:12], large, x[12:], ridges=[0.5])
    found = S.joint_out_of_fold(3, x[:12], large, x[12:], ridge, folds=20)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def neighbours(x, label, new):
    """The label of the nearest point: remembers what it has seen."""
    gap = ((new[:, None] - x[None]) ** 2).sum(axis=2)
    return label[gap.argmin(axis=1)] + 1e-3 * new[:, 0]


def discoveries(learner, reps=60):
    rates, power = [], []
    for r in range(reps):
        rng = np.random.default_rng(r)
        x = rng.normal(size=(160, 2))
        large = x[:, 0] + rng.normal(size=160) > 0.5
        out = S.optcs_full(r, x[:80], large[:80], x[80:], q=0.3, learner=learner, folds=4)
        rates.append((~large[80:][out.selected]).mean() if out.selected.size else 0.0)
        power.append(large[80:][out.selected].sum() / large[80:].sum())
    return np.array(rates), np.array(power)


SLOW = [
    pytest.param(ridge, marks=pytest.mark.slow, id="ridge"),
    pytest.param([ridge, neighbours], marks=pytest.mark.slow, id="both"),
]


@pytest.mark.parametrize("learner", [pytest.param(neighbours, id="nearest"), *SLOW])
def test_any_learner_keeps_the_false_discovery_rate(learner):
    rates, power = discoveries(learner)
    assert rates.mean() <= 0.3 + 4 * rates.std() / np.sqrt(len(rates))
    assert learner is neighbours or power.mean() > 0.2


def test_estimators_and_data_frames():
    linear = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 2)), columns=["a", "b"])
    large = frame["a"].to_numpy() > 0.3
    models = [linear.LogisticRegression(), linear.Ridge()]
    out = S.optcs_full(
        0, frame[:80], large[:80], frame[80:][["b", "a"]], q=0.3, learner=models, folds=5
    )
    assert large[80:][out.selected].mean() > 0.6 and set(out.model) <= {0, 1}
    plain = frame.to_numpy()
    again = S.optcs_full(0, plain[:80], large[:80], plain[80:], q=0.3, learner=models, folds=5)
    np.testing.assert_array_equal(out.selected, again.selected)
    for change, error, match in (
        ({"learner": "ridge"}, MethodError, "no fit"),
        ({"learner": [3]}, MethodError, "no fit"),
        ({"folds": 500}, MethodError, "exceeds the 120 points"),
        ({"learner": lambda x, y, z: np.full(len(z), np.nan)}, ArrayError, "NaN"),
        ({"learner": lambda x, y, z: np.full(len(z), 1e6)}, ArrayError, "scores_scale"),
        ({"X_test": plain[80:, :1]}, ArrayError, "2 columns, X_test 1"),
        ({"X_test": frame[80:]}, ArrayError, "both"),
    ):
        given = {"X": plain[:80], "large": large[:80], "X_test": plain[80:], "learner": ridge}
        with pytest.raises(error, match=match):
            S.joint_out_of_fold(0, **(given | change))


def test_synthetic_scores_serve_each_class():
    rng = np.random.default_rng(0)
    shift = np.array([0.0, 1.0, 1.05])
    y, z = np.repeat(np.arange(3), 15), np.repeat(np.arange(3), 500)
    real, fake = shift[y] + rng.normal(size=45), shift[z] + rng.normal(size=1500)
    own = pc.calibration.spi_by_class(real, y, fake, z, classes=3)
    for k, found in enumerate(own):
        expected = pc.calibration.spi(real[y == k], fake[z == k])
        assert found.threshold == expected.threshold and found.bounds == expected.bounds
    everything = pc.calibration.spi_by_class(real, y, fake, z, classes=3, use="all")
    assert everything[1].threshold == pc.calibration.spi(real[y == 1], fake).threshold
    apart = shift[y] + rng.normal(size=45)
    options = {"classes": 3, "use": "nearest", "nearest": 1, "reference": (5 * apart, y)}
    spread = np.concatenate([fake[z == 0], 5 * fake[z == 0], 99 + fake[z == 0]])
    near = pc.calibration.spi_by_class(real, y, spread, z, **options)
    assert near[0].threshold == pc.calibration.spi(real[y == 0], spread[z == 1]).threshold
    with pytest.raises(ArrayError, match="needs reference"):
        pc.calibration.spi_by_class(real, y, fake, z, classes=3, use="nearest")
    with pytest.raises(ArrayError, match="class 3 has no real scores"):
        pc.calibration.spi_by_class(real, y, fake, z, classes=4)
