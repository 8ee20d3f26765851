"""Oracles: exact predictives in float64 NumPy, to measure trained networks against."""

from probinf.amortized.oracles.exact import Exact as Exact
from probinf.amortized.oracles.exact import _kernel as _kernel
from probinf.amortized.oracles.exact import conjugate_regression as conjugate_regression
from probinf.amortized.oracles.exact import gaussian_process as gaussian_process
from probinf.amortized.oracles.exact import kalman_filter as kalman_filter
from probinf.amortized.oracles.labels import LabelLaw as LabelLaw
from probinf.amortized.oracles.labels import gaussian_process_labels as gaussian_process_labels
