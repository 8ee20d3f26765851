"""Conformal inference: prediction sets with a guarantee, from plain arrays.

What most users need is here; each room below holds all of its names, the rarer ones there alone.
"""

import importlib as _importlib
from typing import Any as _Any

from probinf.conformal import calibration as calibration
from probinf.conformal import labels as labels
from probinf.conformal import online as online
from probinf.conformal import posteriors as posteriors
from probinf.conformal import regression as regression
from probinf.conformal import scores as scores
from probinf.conformal import selection as selection
from probinf.conformal import sets as sets
from probinf.conformal.calibration import Calibration as Calibration
from probinf.conformal.calibration import calibrate as calibrate
from probinf.conformal.calibration import crc as crc
from probinf.conformal.calibration import ltt as ltt
from probinf.conformal.calibration import rcps as rcps
from probinf.conformal.calibration import split as split
from probinf.conformal.labels import certified as certified
from probinf.conformal.labels import class_conditional as class_conditional
from probinf.conformal.labels import venn_abers as venn_abers
from probinf.conformal.labels import venn_abers_multiclass as venn_abers_multiclass
from probinf.conformal.online import ACI as ACI
from probinf.conformal.online import PID as PID
from probinf.conformal.online import SAOCP as SAOCP
from probinf.conformal.online import DtACI as DtACI
from probinf.conformal.online import detect_drift as detect_drift
from probinf.conformal.online import enbpi as enbpi
from probinf.conformal.online import track as track
from probinf.conformal.plotting import plot_group_coverage as plot_group_coverage
from probinf.conformal.plotting import plot_online as plot_online
from probinf.conformal.posteriors import bayes as bayes
from probinf.conformal.posteriors import calibrate_posterior as calibrate_posterior
from probinf.conformal.posteriors import predict_density as predict_density
from probinf.conformal.regression import box as box
from probinf.conformal.regression import cv_plus as cv_plus
from probinf.conformal.regression import full_grid as full_grid
from probinf.conformal.regression import full_kernel as full_kernel
from probinf.conformal.regression import full_ridge as full_ridge
from probinf.conformal.regression import jackknife_plus as jackknife_plus
from probinf.conformal.regression import jackknife_plus_ridge as jackknife_plus_ridge
from probinf.conformal.regression import predictive_system as predictive_system
from probinf.conformal.reports import coverage_report as coverage_report
from probinf.conformal.scores import APS as APS
from probinf.conformal.scores import CQR as CQR
from probinf.conformal.scores import LAC as LAC
from probinf.conformal.scores import RAPS as RAPS
from probinf.conformal.scores import Absolute as Absolute
from probinf.conformal.scores import Normalised as Normalised
from probinf.conformal.scores import Signed as Signed
from probinf.conformal.scores import TopK as TopK
from probinf.conformal.selection import cfbh as cfbh
from probinf.conformal.selection import optcs as optcs
from probinf.conformal.sets import GridSet as GridSet
from probinf.conformal.sets import Interval as Interval
from probinf.conformal.sets import LabelSet as LabelSet
from probinf.conformal.sets.pictures import plot_intervals as plot_intervals
from probinf.conformal.sets.pictures import plot_sizes as plot_sizes
from probinf.conformal.validity import check_coverage as check_coverage
from probinf.core.deprecation import moved_names as _moved_names
from probinf.core.lazy import public_names as _public_names

_ROOMS = "calibration estimators labels online posteriors regression scores selection sets"
__dir__ = _public_names(__name__, *_ROOMS.split())
_moved = _moved_names(
    __name__,
    {
        "calibration": """
        RiskControl SpiBounds SpiThreshold betting_pvalue clopper_pearson conditional_thresholds
        gespi hoeffding_bentkus lower_rank nexcp_weights order_stat rlcp_thresholds robust_split
        smoothed_bounds spi spi_beta spi_bounds upper_rank weighted_quantile
    """,
        "labels": "ImplicationCircuit VennAbers cluster_labels combine cv_plus_labels",
        "online": "AgACI OnlineMethod OnlineResult SFOGD",
        "posteriors": "BayesSet PosteriorRegion bayes_arrays hpd_scores waldo_scores",
        "regression": """
        Box Ellipsoid PredictiveSystem SampleBalls copula_box ellipsoid jackknife_minmax
        jackknife_plus_bootstrap jackknife_plus_kernel sample_balls sample_distance
    """,
        "scores": """
        AsymmetricCQR DensityScore HDRMass LabelScore LogPredictive Margin PIT PredictiveDensity
        RegressionScore SAPS
    """,
        "selection": """
        Chiseled Selection Thresholdout auxiliary_sizes benjamini_hochberg chisel clipped_scores
        conformal_evalues e_bh joint_leave_one_out optcs_full ridge_learner selection_pvalues
        thresholdout weighted_selection
    """,
    },
    until="0.3",
)


def __getattr__(name: str) -> _Any:
    """``estimators`` on first use (scikit-learn is an extra), and names that moved to a room."""
    if name == "estimators":
        return _importlib.import_module("probinf.conformal.estimators")
    return _moved(name)
