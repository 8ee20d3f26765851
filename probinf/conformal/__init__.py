"""Conformal inference: prediction sets with a guarantee, from plain arrays."""

import importlib
from typing import Any

from probinf.conformal.calibration.conditional import (
    conditional_thresholds as conditional_thresholds,
)
from probinf.conformal.calibration.groups import class_conditional as class_conditional
from probinf.conformal.calibration.groups import cluster_labels as cluster_labels
from probinf.conformal.calibration.localized import nexcp_weights as nexcp_weights
from probinf.conformal.calibration.localized import rlcp_thresholds as rlcp_thresholds
from probinf.conformal.calibration.ranks import lower_rank as lower_rank
from probinf.conformal.calibration.ranks import order_stat as order_stat
from probinf.conformal.calibration.ranks import upper_rank as upper_rank
from probinf.conformal.calibration.ranks import weighted_quantile as weighted_quantile
from probinf.conformal.calibration.risk import RiskControl as RiskControl
from probinf.conformal.calibration.risk import betting_pvalue as betting_pvalue
from probinf.conformal.calibration.risk import crc as crc
from probinf.conformal.calibration.risk import hoeffding_bentkus as hoeffding_bentkus
from probinf.conformal.calibration.risk import ltt as ltt
from probinf.conformal.calibration.risk import rcps as rcps
from probinf.conformal.calibration.robust import clopper_pearson as clopper_pearson
from probinf.conformal.calibration.robust import robust_split as robust_split
from probinf.conformal.calibration.robust import smoothed_bounds as smoothed_bounds
from probinf.conformal.calibration.scores import Calibration as Calibration
from probinf.conformal.calibration.scores import calibrate as calibrate
from probinf.conformal.calibration.split import split as split
from probinf.conformal.calibration.synthetic import SpiBounds as SpiBounds
from probinf.conformal.calibration.synthetic import SpiThreshold as SpiThreshold
from probinf.conformal.calibration.synthetic import gespi as gespi
from probinf.conformal.calibration.synthetic import spi as spi
from probinf.conformal.calibration.synthetic import spi_beta as spi_beta
from probinf.conformal.calibration.synthetic import spi_bounds as spi_bounds
from probinf.conformal.labels.circuits import ImplicationCircuit as ImplicationCircuit
from probinf.conformal.labels.circuits import combine as combine
from probinf.conformal.labels.venn_abers import VennAbers as VennAbers
from probinf.conformal.labels.venn_abers import venn_abers as venn_abers
from probinf.conformal.labels.venn_abers import venn_abers_multiclass as venn_abers_multiclass
from probinf.conformal.online.aci import ACI as ACI
from probinf.conformal.online.aci import AgACI as AgACI
from probinf.conformal.online.aci import DtACI as DtACI
from probinf.conformal.online.enbpi import enbpi as enbpi
from probinf.conformal.online.gradient import PID as PID
from probinf.conformal.online.gradient import SAOCP as SAOCP
from probinf.conformal.online.gradient import SFOGD as SFOGD
from probinf.conformal.online.track import OnlineMethod as OnlineMethod
from probinf.conformal.online.track import OnlineResult as OnlineResult
from probinf.conformal.online.track import track as track
from probinf.conformal.plotting import plot_group_coverage as plot_group_coverage
from probinf.conformal.plotting import plot_intervals as plot_intervals
from probinf.conformal.plotting import plot_online as plot_online
from probinf.conformal.plotting import plot_sizes as plot_sizes
from probinf.conformal.posteriors.bayes import BayesSet as BayesSet
from probinf.conformal.posteriors.bayes import bayes as bayes
from probinf.conformal.posteriors.bayes import bayes_arrays as bayes_arrays
from probinf.conformal.posteriors.sbi import PosteriorRegion as PosteriorRegion
from probinf.conformal.posteriors.sbi import calibrate_posterior as calibrate_posterior
from probinf.conformal.posteriors.sbi import hpd_scores as hpd_scores
from probinf.conformal.posteriors.sbi import waldo_scores as waldo_scores
from probinf.conformal.regression.cross import cv_plus as cv_plus
from probinf.conformal.regression.cross import cv_plus_labels as cv_plus_labels
from probinf.conformal.regression.cross import jackknife_minmax as jackknife_minmax
from probinf.conformal.regression.cross import jackknife_plus as jackknife_plus
from probinf.conformal.regression.cross import jackknife_plus_bootstrap as jackknife_plus_bootstrap
from probinf.conformal.regression.full import GridSet as GridSet
from probinf.conformal.regression.full import full_grid as full_grid
from probinf.conformal.regression.full import full_kernel as full_kernel
from probinf.conformal.regression.full import full_ridge as full_ridge
from probinf.conformal.regression.leave_one_out import (
    jackknife_plus_kernel as jackknife_plus_kernel,
)
from probinf.conformal.regression.leave_one_out import jackknife_plus_ridge as jackknife_plus_ridge
from probinf.conformal.regression.multivariate import Box as Box
from probinf.conformal.regression.multivariate import Ellipsoid as Ellipsoid
from probinf.conformal.regression.multivariate import SampleBalls as SampleBalls
from probinf.conformal.regression.multivariate import box as box
from probinf.conformal.regression.multivariate import copula_box as copula_box
from probinf.conformal.regression.multivariate import ellipsoid as ellipsoid
from probinf.conformal.regression.multivariate import sample_balls as sample_balls
from probinf.conformal.regression.multivariate import sample_distance as sample_distance
from probinf.conformal.regression.predictive import PredictiveSystem as PredictiveSystem
from probinf.conformal.regression.predictive import predictive_system as predictive_system
from probinf.conformal.scores.classification import APS as APS
from probinf.conformal.scores.classification import LAC as LAC
from probinf.conformal.scores.classification import RAPS as RAPS
from probinf.conformal.scores.classification import SAPS as SAPS
from probinf.conformal.scores.classification import LabelScore as LabelScore
from probinf.conformal.scores.classification import Margin as Margin
from probinf.conformal.scores.classification import TopK as TopK
from probinf.conformal.scores.density import PIT as PIT
from probinf.conformal.scores.density import DensityScore as DensityScore
from probinf.conformal.scores.density import HDRMass as HDRMass
from probinf.conformal.scores.density import LogPredictive as LogPredictive
from probinf.conformal.scores.density import PredictiveDensity as PredictiveDensity
from probinf.conformal.scores.density import predict_density as predict_density
from probinf.conformal.scores.regression import CQR as CQR
from probinf.conformal.scores.regression import Absolute as Absolute
from probinf.conformal.scores.regression import AsymmetricCQR as AsymmetricCQR
from probinf.conformal.scores.regression import Normalised as Normalised
from probinf.conformal.scores.regression import RegressionScore as RegressionScore
from probinf.conformal.scores.regression import Signed as Signed
from probinf.conformal.selection.chiseling import Chiseled as Chiseled
from probinf.conformal.selection.chiseling import chisel as chisel
from probinf.conformal.selection.chiseling import ridge_learner as ridge_learner
from probinf.conformal.selection.evalues import conformal_evalues as conformal_evalues
from probinf.conformal.selection.evalues import e_bh as e_bh
from probinf.conformal.selection.optcs import auxiliary_sizes as auxiliary_sizes
from probinf.conformal.selection.optcs import joint_leave_one_out as joint_leave_one_out
from probinf.conformal.selection.optcs import optcs as optcs
from probinf.conformal.selection.optcs import optcs_full as optcs_full
from probinf.conformal.selection.pvalues import Selection as Selection
from probinf.conformal.selection.pvalues import benjamini_hochberg as benjamini_hochberg
from probinf.conformal.selection.pvalues import cfbh as cfbh
from probinf.conformal.selection.pvalues import clipped_scores as clipped_scores
from probinf.conformal.selection.pvalues import selection_pvalues as selection_pvalues
from probinf.conformal.selection.pvalues import weighted_selection as weighted_selection
from probinf.conformal.selection.thresholdout import Thresholdout as Thresholdout
from probinf.conformal.selection.thresholdout import thresholdout as thresholdout
from probinf.conformal.sets.intervals import Interval as Interval
from probinf.conformal.sets.intervals import LabelSet as LabelSet
from probinf.conformal.validity import check_coverage as check_coverage


def __getattr__(name: str) -> Any:
    """``estimators`` on first use: scikit-learn is an extra."""
    if name == "estimators":
        return importlib.import_module("probinf.conformal.estimators")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
