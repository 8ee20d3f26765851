"""Names: what was flat still is found, and the rooms import one way."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import probinf.conformal as pc

FLAT_BEFORE_ROOMS = """
    ACI APS Absolute AgACI AsymmetricCQR BayesSet Box CQR Calibration Chiseled DensityScore
    DtACI Ellipsoid GridSet HDRMass ImplicationCircuit Interval LAC LabelScore LabelSet
    LogPredictive Margin Normalised OnlineMethod OnlineResult PID PIT PosteriorRegion
    PredictiveDensity PredictiveSystem RAPS RegressionScore RiskControl SAOCP SAPS SFOGD
    SampleBalls Selection Signed SpiBounds SpiThreshold Thresholdout TopK VennAbers
    auxiliary_sizes bayes bayes_arrays benjamini_hochberg betting_pvalue box calibrate
    calibrate_posterior cfbh check_coverage chisel class_conditional clipped_scores
    clopper_pearson cluster_labels combine conditional_thresholds conformal_evalues copula_box
    crc cv_plus cv_plus_labels e_bh ellipsoid enbpi full_grid full_kernel full_ridge gespi
    hoeffding_bentkus hpd_scores jackknife_minmax jackknife_plus jackknife_plus_bootstrap
    jackknife_plus_kernel jackknife_plus_ridge joint_leave_one_out lower_rank ltt nexcp_weights
    optcs optcs_full order_stat plot_group_coverage plot_intervals plot_online plot_sizes
    predict_density predictive_system rcps ridge_learner rlcp_thresholds robust_split
    sample_balls sample_distance selection_pvalues smoothed_bounds spi spi_beta spi_bounds split
    thresholdout track upper_rank venn_abers venn_abers_multiclass waldo_scores
    weighted_quantile weighted_selection
"""
ROOMS = "sets scores calibration regression labels posteriors online selection"
# what each room may stand on, besides probinf.core and probinf.errors
BELOW = {
    "sets": "",
    "scores": "",
    "calibration": "sets scores",
    "regression": "sets calibration",
    "labels": "sets scores calibration regression",
    "posteriors": "sets scores calibration regression",
    "online": "sets calibration",
    "selection": "calibration",
    "estimators": "sets scores calibration regression labels online",
    "plotting": "sets online",
    "validity": "calibration",
    "reports": "calibration",
}


@pytest.mark.parametrize("name", FLAT_BEFORE_ROOMS.split())
def test_every_flat_name_still_is_the_object_of_its_room(name):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        item = getattr(pc, name)
    homes = [room for room in ROOMS.split() if name in vars(getattr(pc, room))]
    if name in vars(pc):  # still flat
        assert not said and (homes or name.startswith("plot_") or name == "check_coverage")
    else:
        (warning,) = said
        assert warning.category is DeprecationWarning
        assert f"is now conformal.{homes[0]}.{name};" in str(warning.message)
    assert len(homes) <= 1 and all(getattr(getattr(pc, room), name) is item for room in homes)


def test_a_moved_name_can_be_imported_and_an_unknown_one_cannot():
    with pytest.warns(DeprecationWarning, match=r"selection\.e_bh"):
        from probinf.conformal import e_bh
    assert e_bh is pc.selection.e_bh
    with pytest.raises(AttributeError, match="no attribute 'e_hb'"):
        pc.e_hb  # noqa: B018


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_rooms_import_one_way_and_nothing_but_the_core():
    root = Path(pc.__file__).parent
    for path in root.rglob("*.py"):
        room = path.relative_to(root).parts[0].removesuffix(".py")
        for module in imported(path):
            if module.split(".")[0] != "probinf" or room == "__init__":
                continue
            parts = module.split(".")
            if parts[1] == "conformal":
                assert parts[2] in (room, *BELOW[room].split()), f"{path} imports {module}"
            else:
                assert parts[1] in ("core", "errors"), f"{path} imports {module}"


def test_the_import_is_light():
    code = "import sys, probinf.conformal; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    heavy = {"sklearn", "matplotlib", "probinf.ppi", "probinf.amortized"}
    assert not heavy & set(loaded.stdout.split())
