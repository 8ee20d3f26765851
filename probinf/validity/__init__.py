"""The laws as functions: anyone can hold a model, a kernel or an engine against them."""

from probinf.validity.base import check_base as check_base
from probinf.validity.invariance import check_invariant as check_invariant
from probinf.validity.invariance import fitted_params as fitted_params
from probinf.validity.invariance import geweke as geweke
from probinf.validity.proper import check_proper as check_proper
from probinf.validity.result import CheckResult as CheckResult
from probinf.validity.sbc import SbcResult as SbcResult
from probinf.validity.sbc import sbc as sbc
