"""Options by name: one that does not exist is refused with the name that it has here."""

from __future__ import annotations

import difflib
import inspect
from typing import Any

from probinf.errors import MethodError

_HERE = {
    "draws": "num_samples n_samples samples iter iter_sampling num_draws n_draws nsamples",
    "warmup": "num_warmup tune n_tune burn burnin burn_in n_burn iter_warmup warmup_steps n_warmup "
    "num_burnin_steps num_adapts",
    "chains": "num_chains n_chains nchains cores",
    "thin": "thinning",
    "target_acceptance": "target_accept target_accept_prob target_acceptance_rate adapt_delta "
    "target_accept_rate accept_prob delta",
    "max_depth": "max_tree_depth max_treedepth max_num_doublings",
    "steps": "num_steps n_steps num_leapfrog_steps num_integration_steps n_leapfrog",
    "length": "trajectory_length path_length",
    "metric": "dense_mass mass_matrix inverse_mass_matrix adapt_mass_matrix",
    "start": "init init_strategy init_params initvals inits",
    "particles": "num_particles n_particles n_effective n_active population_size",
    "islands": "num_islands n_islands",
    "moves": "num_mcmc_steps n_mcmc_steps n_steps walks num_slices slices nsteps",
    "live": "nlive n_live num_live_points min_num_live_points num_live n_live_points",
    "runs": "num_runs n_runs",
    "tolerance": "dlogz evidence_tolerance frac_remain dlogz_init",
    "temperatures": "num_temperatures n_temperatures ntemps n_rounds num_temps",
    "target_ess": "ess_threshold ess_target threshold target_ess_fraction",
    "max_evaluations": "max_ncalls maxcall max_calls",
    "kernel": "step algorithm sampler mcmc_kernel",
}
_OF_SAMPLE = {
    "key": "seed rng_key random_seed random_state rng",
    "progress": "progress_bar progressbar show_progress verbose",
    "checkpoint": "checkpoint_path output_dir",
}
_NAMES = {there: here for here, words in _HERE.items() for there in words.split()}
_SAMPLE = {there: here for here, words in _OF_SAMPLE.items() for there in words.split()}
_SAMPLE |= {name: name for name in (*_OF_SAMPLE, "check", "keep", "max_seconds")}
_OF_KERNELS = {"target_acceptance", "max_depth", "steps", "length", "jitter"}


class Options:
    """A class whose fields are options; made with an unknown one it says which is meant."""

    def __new__(cls, *args: Any, **options: Any) -> Any:
        """The object, once all names are known.

        Raises:
            MethodError: there is no option of that name.
        """
        parameters = inspect.signature(cls.__init__).parameters
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            known = [name for name in parameters if name != "self"]
            for name in options:
                if name not in known:
                    raise MethodError(_told(cls.__name__, name, known))
        return super().__new__(cls)


def _told(owner: str, name: str, known: list[str]) -> str:
    here = _NAMES.get(name, name)
    start = f"{owner} has no option '{name}'"
    if here in known:
        return f"{start}; here it is '{here}'."
    if "kernel" in known and here in _OF_KERNELS:
        inner = owner if owner in ("NUTS", "HMC") else "NUTS"
        return (
            f"{start}: it is an option of the kernel, "
            f"{owner}(kernel=pi.kernels.{inner}({here}=...))."
        )
    if name in _SAMPLE:
        return f"{start}: it is an argument of pi.sample, '{_SAMPLE[name]}'."
    if name in ("step_size", "stepsize", "init_step_size"):
        return f"{start}: the warm-up finds the step size."
    near = difflib.get_close_matches(name, known, 1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    return f"{start}.{hint} Its options are {', '.join(known) or 'none'}."
