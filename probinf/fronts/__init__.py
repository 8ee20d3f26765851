"""Ways into probinf: each turns something a user has into a Program."""

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
