"""Resamplers for ``SMC(resampler=...)``: expected counts are N times the weights, exactly."""

from probinf.core import resampling as _parts
from probinf.core.resampling import killing as killing
from probinf.core.resampling import multinomial as multinomial
from probinf.core.resampling import residual as residual
from probinf.core.resampling import ssp as ssp
from probinf.core.resampling import stratified as stratified
from probinf.core.resampling import systematic as systematic

Resampler = _parts.Resampler
"""``(key, weights) -> ancestors``: N increasing indices with ``E[count_i] = N * weights_i``."""
