"""Thresholds from calibration scores: plain, by group, local, weighted, robust, for a risk."""

from probinf.conformal.calibration.calibrate import Calibration as Calibration
from probinf.conformal.calibration.calibrate import calibrate as calibrate
from probinf.conformal.calibration.conditional import (
    conditional_thresholds as conditional_thresholds,
)
from probinf.conformal.calibration.learn_then_test import ltt as ltt
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
from probinf.conformal.calibration.risk import rcps as rcps
from probinf.conformal.calibration.robust import clopper_pearson as clopper_pearson
from probinf.conformal.calibration.robust import robust_split as robust_split
from probinf.conformal.calibration.robust import smoothed_bounds as smoothed_bounds
from probinf.conformal.calibration.split import split as split
from probinf.conformal.calibration.synthetic import SpiBounds as SpiBounds
from probinf.conformal.calibration.synthetic import SpiThreshold as SpiThreshold
from probinf.conformal.calibration.synthetic import gespi as gespi
from probinf.conformal.calibration.synthetic import spi as spi
from probinf.conformal.calibration.synthetic import spi_beta as spi_beta
from probinf.conformal.calibration.synthetic import spi_bounds as spi_bounds
from probinf.conformal.calibration.synthetic_classes import spi_by_class as spi_by_class
