"""What is done with posteriors: evidences, comparison, a posterior as the next prior."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.evidence.harmonic_mean import HarmonicMean as HarmonicMean
    from probinf.evidence.harmonic_mean import harmonic as harmonic

__getattr__, __dir__ = _on_first_use(
    __name__,
    {
        "harmonic": "probinf.evidence.harmonic_mean",
        "HarmonicMean": "probinf.evidence.harmonic_mean",
    },
)
