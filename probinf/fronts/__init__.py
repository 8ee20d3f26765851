"""Ways into probinf: each turns something a user has into a Program."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.fronts.callback import from_callback as from_callback
    from probinf.fronts.formulas.formula import FormulaProgram as FormulaProgram
    from probinf.fronts.formulas.formula import formula as formula
    from probinf.fronts.log_density import from_log_density as from_log_density
    from probinf.fronts.log_density import from_log_likelihood as from_log_likelihood
    from probinf.fronts.numpyro import from_numpyro as from_numpyro
    from probinf.fronts.sharding import shard_data as shard_data
    from probinf.fronts.simulator import from_simulator as from_simulator
    from probinf.fronts.state_space import from_state_space as from_state_space
    from probinf.fronts.state_space import with_parameters as with_parameters
    from probinf.fronts.states.fractional import FractionalNoise as FractionalNoise
    from probinf.fronts.steering import steered as steered
    from probinf.fronts.tokens.front import from_language_model as from_language_model

# Every name that the lines above give to type checkers, and where it is imported from on first use.
_WHERE = {
    "formula": "probinf.fronts.formulas.formula",
    "FormulaProgram": "probinf.fronts.formulas.formula",
    "FractionalNoise": "probinf.fronts.states.fractional",
    "from_callback": "probinf.fronts.callback",
    "from_language_model": "probinf.fronts.tokens.front",
    "from_log_density": "probinf.fronts.log_density",
    "from_log_likelihood": "probinf.fronts.log_density",
    "from_numpyro": "probinf.fronts.numpyro",
    "from_simulator": "probinf.fronts.simulator",
    "from_state_space": "probinf.fronts.state_space",
    "shard_data": "probinf.fronts.sharding",
    "steered": "probinf.fronts.steering",
    "with_parameters": "probinf.fronts.state_space",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
