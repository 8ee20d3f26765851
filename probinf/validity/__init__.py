"""The laws as functions: anyone can hold a model, a kernel or an engine against them."""

from probinf.core.check_result import CheckResult as CheckResult
from probinf.core.lazy import public_names as _public_names
from probinf.validity.base import check_base as check_base
from probinf.validity.c2st import C2stResult as C2stResult
from probinf.validity.c2st import c2st as c2st
from probinf.validity.coverage import CoverageResult as CoverageResult
from probinf.validity.coverage import expected_coverage as expected_coverage
from probinf.validity.invariance import check_invariant as check_invariant
from probinf.validity.invariance import fitted_params as fitted_params
from probinf.validity.invariance import geweke as geweke
from probinf.validity.proper import check_proper as check_proper
from probinf.validity.replications import Amortized as Amortized
from probinf.validity.replications import Replications as Replications
from probinf.validity.replications import replicate as replicate
from probinf.validity.sbc import SbcResult as SbcResult
from probinf.validity.sbc import sbc as sbc
from probinf.validity.tarp import tarp as tarp

__dir__ = _public_names(__name__)
