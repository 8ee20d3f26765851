"""Intervals, regions and distributions of numbers, with or without a data split."""

from probinf.conformal.regression.cross import cv_plus as cv_plus
from probinf.conformal.regression.cross import jackknife_minmax as jackknife_minmax
from probinf.conformal.regression.cross import jackknife_plus as jackknife_plus
from probinf.conformal.regression.cross import jackknife_plus_bootstrap as jackknife_plus_bootstrap
from probinf.conformal.regression.curves import SurvivalCurves as SurvivalCurves
from probinf.conformal.regression.curves import SurvivalForest as SurvivalForest
from probinf.conformal.regression.curves import survival_forest as survival_forest
from probinf.conformal.regression.full import full_grid as full_grid
from probinf.conformal.regression.full import full_kernel as full_kernel
from probinf.conformal.regression.full import full_ridge as full_ridge
from probinf.conformal.regression.leave_one_out import (
    jackknife_plus_kernel as jackknife_plus_kernel,
)
from probinf.conformal.regression.leave_one_out import jackknife_plus_ridge as jackknife_plus_ridge
from probinf.conformal.regression.mondrian import MondrianSystem as MondrianSystem
from probinf.conformal.regression.mondrian import mondrian_bins as mondrian_bins
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
from probinf.conformal.regression.survival import SurvivalBounds as SurvivalBounds
from probinf.conformal.regression.survival import survival_bounds as survival_bounds
from probinf.conformal.regression.trajectories import trajectories as trajectories
