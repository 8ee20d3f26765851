"""Conformal inference: prediction sets with a guarantee, from plain arrays."""

import importlib
from typing import Any

from probinf.conformal.bayes import BayesSet as BayesSet
from probinf.conformal.bayes import bayes as bayes
from probinf.conformal.bayes import bayes_arrays as bayes_arrays
from probinf.conformal.calibration import Calibration as Calibration
from probinf.conformal.calibration import calibrate as calibrate
from probinf.conformal.circuits import ImplicationCircuit as ImplicationCircuit
from probinf.conformal.circuits import combine as combine
from probinf.conformal.conditional import conditional_thresholds as conditional_thresholds
from probinf.conformal.cross import cv_plus as cv_plus
from probinf.conformal.cross import cv_plus_labels as cv_plus_labels
from probinf.conformal.cross import jackknife_minmax as jackknife_minmax
from probinf.conformal.cross import jackknife_plus as jackknife_plus
from probinf.conformal.cross import jackknife_plus_bootstrap as jackknife_plus_bootstrap
from probinf.conformal.full import GridSet as GridSet
from probinf.conformal.full import full_grid as full_grid
from probinf.conformal.full import full_kernel as full_kernel
from probinf.conformal.full import full_ridge as full_ridge
from probinf.conformal.groups import class_conditional as class_conditional
from probinf.conformal.groups import cluster_labels as cluster_labels
from probinf.conformal.leave_one_out import jackknife_plus_kernel as jackknife_plus_kernel
from probinf.conformal.leave_one_out import jackknife_plus_ridge as jackknife_plus_ridge
from probinf.conformal.localized import nexcp_weights as nexcp_weights
from probinf.conformal.localized import rlcp_thresholds as rlcp_thresholds
from probinf.conformal.multivariate import Box as Box
from probinf.conformal.multivariate import Ellipsoid as Ellipsoid
from probinf.conformal.multivariate import SampleBalls as SampleBalls
from probinf.conformal.multivariate import box as box
from probinf.conformal.multivariate import copula_box as copula_box
from probinf.conformal.multivariate import ellipsoid as ellipsoid
from probinf.conformal.multivariate import sample_balls as sample_balls
from probinf.conformal.multivariate import sample_distance as sample_distance
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
from probinf.conformal.predictive import PredictiveSystem as PredictiveSystem
from probinf.conformal.predictive import predictive_system as predictive_system
from probinf.conformal.ranks import lower_rank as lower_rank
from probinf.conformal.ranks import order_stat as order_stat
from probinf.conformal.ranks import upper_rank as upper_rank
from probinf.conformal.ranks import weighted_quantile as weighted_quantile
from probinf.conformal.risk import RiskControl as RiskControl
from probinf.conformal.risk import betting_pvalue as betting_pvalue
from probinf.conformal.risk import crc as crc
from probinf.conformal.risk import hoeffding_bentkus as hoeffding_bentkus
from probinf.conformal.risk import ltt as ltt
from probinf.conformal.risk import rcps as rcps
from probinf.conformal.robust import clopper_pearson as clopper_pearson
from probinf.conformal.robust import robust_split as robust_split
from probinf.conformal.robust import smoothed_bounds as smoothed_bounds
from probinf.conformal.sbi import PosteriorRegion as PosteriorRegion
from probinf.conformal.sbi import calibrate_posterior as calibrate_posterior
from probinf.conformal.sbi import hpd_scores as hpd_scores
from probinf.conformal.sbi import waldo_scores as waldo_scores
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
from probinf.conformal.sets import Interval as Interval
from probinf.conformal.sets import LabelSet as LabelSet
from probinf.conformal.split import split as split
from probinf.conformal.synthetic import SpiBounds as SpiBounds
from probinf.conformal.synthetic import SpiThreshold as SpiThreshold
from probinf.conformal.synthetic import gespi as gespi
from probinf.conformal.synthetic import spi as spi
from probinf.conformal.synthetic import spi_beta as spi_beta
from probinf.conformal.synthetic import spi_bounds as spi_bounds
from probinf.conformal.validity import check_coverage as check_coverage
from probinf.conformal.venn_abers import VennAbers as VennAbers
from probinf.conformal.venn_abers import venn_abers as venn_abers
from probinf.conformal.venn_abers import venn_abers_multiclass as venn_abers_multiclass


def __getattr__(name: str) -> Any:
    """``estimators`` on first use: scikit-learn is an extra."""
    if name == "estimators":
        return importlib.import_module("probinf.conformal.estimators")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
