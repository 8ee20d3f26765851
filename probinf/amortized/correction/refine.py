"""refine: the ladder from an approximate posterior to the exact one, and which rung was reached."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from probinf import kernels
from probinf.amortized.correction.defensive import defensive
from probinf.amortized.correction.report import Refinement, Rung, how_far_off
from probinf.amortized.correction.reweighted import reweighted
from probinf.amortized.neural.familiar import Familiarity
from probinf.api import sample
from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.keys import as_key
from probinf.core.normalised import normalised
from probinf.core.program import Key, Program, check_same_coordinates, improper
from probinf.core.psis import psis
from probinf.core.transformations.rebasing import rebase
from probinf.errors import MethodError, StructureError, ZeroLikelihoodError
from probinf.evidence.fitting import fit
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method
from probinf.samplers import MCMC, NUTS, SMC, Importance

_SMC_SHARE = 0.5


def refine(
    program: Program,
    q: Program | Posterior,
    *,
    key: int | Key,
    draws: int = 10_000,
    threshold: float | None = None,
    least_share: float = 0.1,
    defence: float = 0.1,
    out_of_range: float = 0.05,
    fallback: Method[Posterior] | None = None,
    progress: bool = True,
) -> Posterior:
    """The exact posterior of a program, starting from an approximation of any quality.

    Draws of q, a share of them replaced by draws of the prior so that a mode which q missed is
    seen, are weighted by ``gamma`` over their density. Where the Pareto shape of the weights
    is below its threshold and enough of the draws count, they are the answer. Otherwise tempered
    SMC goes to the program from an equal mixture of the prior and a Student t fitted to the draws,
    which is exact too and cheaper to move in than a network; a q given by draws only starts NUTS
    chains, and discrete coordinates are moved by Gibbs sampling from draws of q and the prior.
    ``pi.amortized.refinement(result)`` says which rung was reached and why.

    Args:
        program: the exact measure, with a likelihood that can be evaluated.
        q: a normalised program in the same coordinates (from NPE, a Distribution Transformer
            or ``pi.fit``), the Posterior of an approximate engine (``pi.VI``, ``pi.Laplace``,
            ``pi.Pathfinder``), or a Posterior sampled from an approximate program (from NLE).
        key: random key or seed.
        draws: drawn from q and weighted.
        threshold: of Pareto k; by default ``min(0.7, 1 - 1 / log10(draws))``.
        least_share: smallest effective share of the weighted draws, in [0, 1), with which they
            are returned; 0 trusts Pareto k alone. Weights can be right and still leave a handful
            of draws to stand for the posterior.
        defence: share of the draws that come from the prior, in [0, 1); none do from an improper
            one.
        out_of_range: data whose summary is rarer in training than this are reported.
        fallback: an engine in place of SMC or NUTS.
        progress: show progress bars in a terminal.

    Raises:
        StructureError: coordinates differ, or q is not normalised.
        MethodError: too few draws, or a share that is none.
        ZeroLikelihoodError: no draw of q has a positive density under the program, and the
            fallback finds none either.

    Source: Schmitt, Li, Vehtari, Acerbi, Bürkner & Radev (2024), "Amortized Bayesian
    workflow"; Vehtari, Simpson, Gelman, Yao & Gabry (2024) for Pareto k.
    """
    if draws < 100:
        raise MethodError(f"refine: at least 100 draws are needed to judge weights, got {draws}.")
    if not 0 <= least_share < 1:
        raise MethodError(f"refine: least_share must lie in [0, 1), got {least_share}.")
    first, second = jax.random.split(as_key(key))
    given = q
    if isinstance(q, Posterior) and q.approximation is not None:
        q = normalised(program, q.approximation) if q.program is None else q.as_program()
    if isinstance(q, Posterior) and q.engine == "MAP":
        raise MethodError(
            "refine: a mode is one point, from whose density nothing can be weighted. Use the "
            "posterior of pi.Laplace()."
        )
    no_prior = improper(program)
    if no_prior:
        defence = 0.0
    if isinstance(q, Posterior):
        weighted: Posterior | None
        target, weighted = reweighted(program, q)
    else:
        if not isinstance(q, Program):
            raise StructureError(
                f"refine: q must be a Program or a Posterior, got {type(q).__name__}; of a fitted "
                "network pass .posterior(y)."
            )
        check_same_coordinates(program, q, "refine")
        _check_normalised(q, first)
        if not 0 <= defence < 1:
            raise MethodError(f"refine: defence must lie in [0, 1), got {defence}.")
        base = defensive(program, q, defence) if defence else q
        weighted = _weigh(rebase(program, base), first, draws, progress)
        target = program
    # never bolder than what so many draws can show
    size = draws if weighted is None else weighted.log_weights.size
    limit = min(0.7, 1 - 1 / np.log10(size)) if threshold is None else threshold
    k, share, tails = _judge(weighted)
    told = _familiarity(q)
    distance, familiar = (None, None) if told is None else (float(told.distance), float(told.share))
    note = ""
    if familiar is not None and familiar < out_of_range:
        note = f"; the data are unusual for the training ({familiar:.1%} as far out)"
    if weighted is not None and k < limit and share >= least_share:
        reason = f"the weights can be trusted (Pareto k {k:.2f} < {limit:.2f}){note}"
        found: Posterior = weighted
        rung: Rung = "importance"
    else:
        method = _fallback(q, program) if fallback is None else fallback
        if k < limit:
            reason = f"only {share:.1%} of the weighted draws count{note}"
        else:
            reason = f"the weights cannot be trusted (Pareto k {k:.2f} >= {limit:.2f}){note}"
        if isinstance(q, Program):
            target = _envelope(program, q, weighted)
        found = sample(target, method, key=second, progress=progress, check=False)
        rung = _rung(found)
    off = how_far_off(given, found) if isinstance(given, Posterior) else None
    report = Refinement(
        rung, reason, k, float(limit), share, familiar, distance, tails[0], tails[1], off
    )
    if no_prior:
        found = dataclasses.replace(found, evidence=None, no_evidence=no_prior)
    return dataclasses.replace(
        found,
        program=program,
        findings=(*found.findings, *(() if told is None else told.unusual())),
        provenance={**found.provenance, "refinement": dataclasses.asdict(report)},
    )


def _weigh(target: Program, key: Key, draws: int, progress: bool) -> Posterior | None:
    """None when no draw has a positive weight."""
    try:
        return sample(target, Importance(draws=draws), key=key, progress=progress, check=False)
    except ZeroLikelihoodError:
        return None


def _envelope(program: Program, q: Program, weighted: Posterior | None) -> Program:
    """The program over a base from which a population can move at little cost."""
    layout = Layout.of(program, integers=True)
    if weighted is None or layout.has_keys or layout.integers:
        return rebase(program, defensive(program, q, _SMC_SHARE))
    plain = dataclasses.replace(
        weighted, log_weights=np.zeros_like(weighted.log_weights), program=program
    )
    wide = fit(plain, "student")
    return rebase(program, defensive(program, wide, _SMC_SHARE) if not improper(program) else wide)


def _judge(weighted: Posterior | None) -> tuple[float, float, tuple[float, float]]:
    """Pareto k, effective share, and share and weight of the draws far out."""
    if weighted is None or not np.isfinite(weighted.log_weights).any():
        return np.inf, 0.0, (0.0, 0.0)
    smoothed, k = psis(weighted.log_weights.ravel())
    share = float(1 / np.sum(np.exp(2 * smoothed)) / smoothed.size)
    return float(k), share, _tails(weighted, np.exp(smoothed))


@jitted
def _weights(flat: Program, keys: Key) -> jax.Array:
    """log_weight at draws from the base."""
    x = jax.vmap(flat.draw, (0, None))(keys, flat.data)
    return jax.vmap(flat.score, (0, None))(x, flat.data).log_weight


def _check_normalised(q: Program, key: Key) -> None:
    flat, _ = flatten(q, integers=True)
    weight = np.asarray(_weights(flat, jax.random.split(key, 16)))
    if np.any(weight != 0):
        raise StructureError(
            "refine: q carries a weight, so its draws are not those of its base. Sample it first: "
            "pi.refine(program, pi.sample(q, key=0), key=1)."
        )


def _rung(found: Posterior) -> Rung:
    """What kind of engine the draws come from, whatever its name."""
    if found.kind == "chains":
        return "mcmc"
    if found.kind == "population":
        return "smc"
    return "nested" if "birth_log_likelihood" in found.stats else "importance"


def _fallback(q: Program | Posterior, program: Program) -> Method[Posterior]:
    if isinstance(q, Posterior):
        return NUTS()
    layout = Layout.of(program, integers=True)
    if layout.integers:
        if layout.has_keys or len(layout.integer_sites) < len(layout.places()):
            raise MethodError(
                "refine: the weights cannot be trusted, and no engine is known to move discrete "
                "and other coordinates together. Pass one as fallback=, pi.MCMC of a "
                "kernels.cycle of blocks."
            )
        return MCMC(kernels.Enumerate())
    if layout.has_keys:
        return SMC(particles=1000, islands=4, kernel=kernels.RandomWalk())
    return SMC(particles=1000, islands=4)


def _familiarity(q: Program | Posterior) -> Familiarity | None:
    """What q knows about its data, wherever in its data that lies."""
    data = q.data if isinstance(q, Program) else getattr(q.program, "data", None)
    found: list[Familiarity] = [
        leaf
        for leaf in jax.tree.leaves(data, is_leaf=lambda v: isinstance(v, Familiarity))
        if isinstance(leaf, Familiarity)
    ]
    return found[0] if found else None


def _tails(weighted: Posterior, w: np.ndarray) -> tuple[float, float]:
    """Share and weight of draws further than 5 sd out: tails of q that its loss never saw."""
    x = weighted.unconstrained.reshape(len(w), -1).astype(float)
    mean = w @ x
    sd = np.sqrt(w @ np.square(x - mean)) + 1e-30
    far = (np.abs(x - mean) > 5 * sd).any(axis=1)
    return float(far.mean()), float(w[far].sum())
