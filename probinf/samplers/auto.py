"""method="auto": an engine chosen from the program, the device and a short pilot."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from probinf import kernels
from probinf.core.compiling import jitted
from probinf.core.coordinates import Layout, flatten
from probinf.core.gradients import HIDDEN_SHARE, hidden_nan, no_gradient
from probinf.core.host.asking import asks
from probinf.core.program import Key, Program, log_density
from probinf.errors import ImproperPriorError
from probinf.results.mode_search import maxima
from probinf.results.posterior import Posterior
from probinf.runtime.method import Method
from probinf.samplers.chees import ChEES
from probinf.samplers.ensembles.ensemble import Ensemble
from probinf.samplers.mcmc import MCMC, NUTS
from probinf.samplers.nested.sampling import Nested
from probinf.samplers.parallel_tempering import ParallelTempering
from probinf.samplers.smc import SMC

_POINTS = 32
_CLIMBED = 30  # coordinates up to which contours of a likelihood are climbed
_USEFUL = 0.5  # share of the trial points with a finite gradient that is not all zero


class Choice(NamedTuple):
    """An engine, and why it was chosen.

    Attributes:
        method: the engine.
        reason: one sentence.
    """

    method: Method[Posterior]
    reason: str


def choose(program: Program, key: Key) -> Choice:
    """The engine for a program.

    In this order: discrete coordinates are moved in blocks of their own; random-key coordinates
    and densities without useful gradients cannot be moved by gradients; several modes need
    tempering, which needs a prior to draw from; accelerators want many chains in lockstep;
    everything else is for NUTS. The pilot is 32 gradients and a search of a few seconds for
    maxima.

    Args:
        program: any program.
        key: of the pilot.
    """
    layout = Layout.of(program, integers=True)
    if layout.integers:
        return _by_blocks(program, layout)
    proper = _proper(program)
    if layout.has_keys:
        why = "a coordinate is a random key (a simulator or particle filter), without a gradient"
        if proper:
            return Choice(SMC(), f"{why}; SMC moves it by random walks and gives the evidence.")
        return Choice(MCMC(kernels.RandomWalk()), f"{why}, and the prior cannot be drawn from.")
    if asks(program.data):
        return _by_asking(layout, proper)
    if why := _useless(program, key):
        if proper:
            return Choice(SMC(kernel=kernels.Slice()), f"{why}; SMC moves by slices.")
        return Choice(MCMC(kernels.Slice()), f"{why}, and the prior cannot be drawn from.")
    modes = maxima(program)
    if len(modes) > 1 and proper:
        shares = ", ".join(f"{mode.share:.0%}" for mode in modes[:4])
        return Choice(
            ParallelTempering(),
            f"the density has {len(modes)} maxima (about {shares} of the mass, by their normal "
            "approximations), between which only tempered chains move.",
        )
    where = f"{layout.size} differentiable coordinates"
    if jax.default_backend() != "cpu":
        return Choice(ChEES(chains=256), f"{where} on an accelerator: many chains in lockstep.")
    if len(modes) > 1:
        return Choice(
            NUTS(),
            f"{where}; the density has {len(modes)} maxima, but tempering needs a prior that can "
            "be drawn from: look at diagnose().",
        )
    return Choice(NUTS(), f"{where}, one mode as far as the pilot saw.")


def _by_asking(layout: Layout, proper: bool) -> Choice:
    """For likelihoods in ordinary Python: many points at a time, and no gradient."""
    why = "the likelihood is ordinary Python, without a gradient"
    if not proper:
        return Choice(
            Ensemble(walkers=max(64, 4 * layout.size)),
            f"{why}, and the prior cannot be drawn from.",
        )
    if layout.size <= _CLIMBED:
        return Choice(
            Nested(), f"{why}; Nested asks for a batch of points at a time and gives the evidence."
        )
    return Choice(
        SMC(kernel=kernels.Slice()), f"{why}, and {layout.size} coordinates are many for Nested."
    )


def _useless(program: Program, key: Key) -> str:
    """Why gradients of the density lead nowhere; empty where they lead somewhere."""
    if reason := no_gradient(program):
        return f"the density has no gradient in reverse mode ({reason})"
    hidden = hidden_nan(program)
    if hidden is not None and hidden.share >= HIDDEN_SHARE:
        return f"the gradient is NaN at {hidden.share:.0%} of the {hidden.where}"
    flat, _ = flatten(program)
    useful = float(np.mean(_useful_gradients(flat, jax.random.split(key, _POINTS))))
    if useful >= _USEFUL:
        return ""
    return f"the gradient is useful at only {useful:.0%} of {_POINTS} starting points"


def _by_blocks(program: Program, layout: Layout) -> Choice:
    """Gibbs sampling: discrete sites by enumeration where they have levels, the rest by NUTS."""
    whole = layout.integer_sites
    finite = tuple(name for name, *_ in program.levels)
    kinds = (
        (finite, kernels.Enumerate()),
        (tuple(name for name in whole if name not in finite), kernels.IntegerWalk()),
        (tuple(name for name in layout.places() if name not in whole), kernels.NUTS()),
    )
    blocks = [kernels.block(sites, kernel) for sites, kernel in kinds if sites]
    named = ", ".join(whole)
    return Choice(
        MCMC(kernels.cycle(*blocks)), f"{named} is discrete: Gibbs sampling, kind by kind."
    )


def _proper(program: Program) -> bool:
    try:
        jax.eval_shape(program.draw, jax.random.key(0), program.data)
    except ImproperPriorError:
        return False
    return True


@jitted
def _useful_gradients(flat: Program, keys: Key) -> jax.Array:
    def one(key: Key) -> jax.Array:
        x = flat.start(key, flat.data)
        slope = jax.grad(lambda y: flat.score(y, flat.data).log_weight)(x)
        fine = jnp.isfinite(jax.grad(lambda y: log_density(flat, y))(x))
        # a likelihood that is flat in every direction (steps, plateaus) leads nowhere
        return jnp.all(fine) & jnp.any(slope != 0)

    return jax.lax.map(one, keys)
