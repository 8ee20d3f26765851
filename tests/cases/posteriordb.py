"""NumPyro models for the reference posteriors of `shared/data/posteriordb`.

The folder's JSON files state each model in mathematical notation; the functions here are those
statements in NumPyro. Double precision is needed for `gp_pois_regr-gp_pois_regr` and advisable
for the others; the caller switches it on.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from math import lgamma
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import log_ndtr, logsumexp
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample

Model: TypeAlias = Callable[..., None]


@dataclass(frozen=True)
class Case:
    """One posterior: its model, the data to call it with, and how to read its draws.

    Attributes:
        name: the stem of the reference files.
        model: a NumPyro model, called as `model(**kwargs)`.
        kwargs: numpy arrays for data, Python ints for sizes.
        proper: every latent site has a normalised prior that can be drawn from.
        extract: constrained draws by site, `(*batch, *site shape)`, to the scalars of the
            reference by name, `(*batch,)`. Deterministic sites have to be among the draws.
        initial: constrained starting values by site, where wide starting points are dangerous.
    """

    name: str
    model: Model
    kwargs: dict[str, Any]
    proper: bool
    extract: Callable[[dict[str, Any]], dict[str, Any]]
    initial: dict[str, Any] | None = None


@dataclass(frozen=True)
class Scalars:
    """Splits draws into scalars: `sites` pairs each site with its length, None for a scalar."""

    sites: tuple[tuple[str, int | None], ...]

    def __call__(self, draws: dict[str, Any]) -> dict[str, Any]:
        """Map draws by site to draws by scalar, vectors as `site[1]`, `site[2]`, ..."""
        scalars: dict[str, Any] = {}
        for site, length in self.sites:
            if length is None:
                scalars[site] = draws[site]
            else:
                scalars |= {f"{site}[{i + 1}]": draws[site][..., i] for i in range(length)}
        return scalars


class OrderedNormal(dist.Distribution):
    """The order statistics of `size` independent Normal(loc, scale) variables."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support = constraints.ordered_vector
    pytree_data_fields = ("loc", "scale")
    pytree_aux_fields = ("size",)

    def __init__(
        self, loc: Any, scale: Any, size: int, *, validate_args: bool | None = None
    ) -> None:
        """Scalars or batches `loc` and `scale`, shared by the `size` variables."""
        self.loc, self.scale, self.size = loc, scale, size
        batch_shape = jnp.broadcast_shapes(jnp.shape(loc), jnp.shape(scale))
        super().__init__(batch_shape, (size,), validate_args=validate_args)

    def _unordered(self) -> dist.Distribution:
        return dist.Normal(jnp.asarray(self.loc)[..., None], jnp.asarray(self.scale)[..., None])

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw the variables and sort them."""
        unordered = self._unordered().expand((*self.batch_shape, self.size))
        return jnp.sort(unordered.sample(key, sample_shape), axis=-1)

    @validate_sample
    def log_prob(self, value: Any) -> jax.Array:
        """Log density at an ordered `value`: all `size!` permutations lead to it."""
        return jnp.sum(self._unordered().log_prob(value), axis=-1) + lgamma(self.size + 1)


class PositiveOrderedNormals(dist.Distribution):
    """Independent Normal(loc[k], scale[k]), k = 1, 2, given that 0 < value[1] < value[2]."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        "loc": constraints.real_vector,
        "scale": constraints.positive,
    }
    support = constraints.positive_ordered_vector
    pytree_data_fields = ("loc", "scale")

    def __init__(self, loc: Any, scale: Any, *, validate_args: bool | None = None) -> None:
        """Vectors `loc` and `scale` of length 2."""
        self.loc, self.scale = loc, scale
        super().__init__((), (2,), validate_args=validate_args)

    def sample(self, key: Any, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw until the constraint holds, each draw on its own."""
        shape = self.shape(sample_shape)
        free = dist.Normal(self.loc, self.scale)

        def redraw(state: tuple[Any, jax.Array]) -> tuple[Any, jax.Array]:
            key, value = state
            key, subkey = jax.random.split(key)
            fresh = free.sample(subkey, sample_shape)
            return key, jnp.where(self.support(value)[..., None], value, fresh)

        def unfinished(state: tuple[Any, jax.Array]) -> jax.Array:
            return ~jnp.all(self.support(state[1]))

        return jax.lax.while_loop(unfinished, redraw, (key, -jnp.ones(shape)))[1]

    @validate_sample
    def log_prob(self, value: Any) -> jax.Array:
        """Log density at a `value` that satisfies the constraint."""
        free = dist.Normal(self.loc, self.scale)
        return jnp.sum(free.log_prob(value), axis=-1) - self._log_mass()

    def _log_mass(self) -> jax.Array:
        """Log probability of the constraint: Gauss-Legendre over the first variable."""
        nodes, weights = np.polynomial.legendre.leggauss(64)
        loc, scale = jnp.asarray(self.loc), jnp.asarray(self.scale)
        width = jnp.maximum(loc[0], 0.0) + 10.0 * scale[0]
        first = 0.5 * width * (nodes + 1.0)
        log_first = dist.Normal(loc[0], scale[0]).log_prob(first)
        log_above = log_ndtr((loc[1] - first) / scale[1])
        return logsumexp(log_first + log_above, b=0.5 * width * weights)


def eight_schools(J: int, sigma: Any, y: Any = None) -> None:
    """Hierarchical normal model with known standard errors `sigma`, non-centred."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("schools", J):
        theta_trans = numpyro.sample("theta_trans", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * theta_trans)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def regression_flat(X: Any, y: Any = None) -> None:
    """Linear regression, flat on the coefficients and on the positive noise scale."""
    beta = numpyro.sample("beta", dist.ImproperUniform(constraints.real, (), X.shape[1:]))
    sigma = numpyro.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def regression_half_cauchy(X: Any, y: Any = None) -> None:
    """Linear regression, flat on the coefficients, half-Cauchy noise scale."""
    beta = numpyro.sample("beta", dist.ImproperUniform(constraints.real, (), X.shape[1:]))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def regression_normal(X: Any, y: Any = None) -> None:
    """Linear regression with normal coefficients and a half-normal noise scale."""
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand(X.shape[1:]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfNormal(10.0))
    numpyro.sample("y", dist.Normal(X @ beta, sigma), obs=y)


def kilpisjarvi(
    x: Any, pmualpha: Any, psalpha: Any, pmubeta: Any, psbeta: Any, y: Any = None
) -> None:
    """Straight line with informative priors and a flat positive noise scale."""
    alpha = numpyro.sample("alpha", dist.Normal(pmualpha, psalpha))
    beta = numpyro.sample("beta", dist.Normal(pmubeta, psbeta))
    sigma = numpyro.sample("sigma", dist.ImproperUniform(constraints.positive, (), ()))
    numpyro.sample("y", dist.Normal(alpha + beta * x, sigma), obs=y)


def autoregression(lags: Any, y: Any = None) -> None:
    """Autoregression of `y`, (T - K,), on the `lags`, (T - K, K), most recent value first."""
    alpha = numpyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = numpyro.sample("beta", dist.Normal(0.0, 10.0).expand(lags.shape[1:]).to_event(1))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    numpyro.sample("y", dist.Normal(alpha + lags @ beta, sigma), obs=y)


def arma11(y: Any) -> None:
    """ARMA(1, 1): each value is normal around its one-step prediction."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 10.0))
    phi = numpyro.sample("phi", dist.Normal(0.0, 2.0))
    theta = numpyro.sample("theta", dist.Normal(0.0, 2.0))
    sigma = numpyro.sample("sigma", dist.HalfCauchy(2.5))
    y = jnp.asarray(y)

    # The series before its start counts as mu, the error before it as 0.
    def step(error: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        autoregressive, value = pair
        prediction = autoregressive + theta * error
        return value - prediction, prediction

    previous = jnp.append(mu, y[:-1])
    _, prediction = jax.lax.scan(step, jnp.zeros_like(mu), (mu + phi * previous, y))
    numpyro.sample("y", dist.Normal(prediction, sigma), obs=y)


def _squared_exponential(x: Any, rho: Any, alpha: Any) -> jax.Array:
    return alpha**2 * jnp.exp(-0.5 * ((x[:, None] - x[None, :]) / rho) ** 2)


def gp_regression(x: Any, y: Any = None) -> None:
    """Gaussian-process regression, latent function integrated out; `sigma` is a variance."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(1.0))
    covariance = _squared_exponential(x, rho, alpha) + sigma * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(x.shape[0]), covariance), obs=y)


def gp_poisson(x: Any, k: Any = None) -> None:
    """Poisson counts with a latent Gaussian process for the log rate, non-centred."""
    rho = numpyro.sample("rho", dist.Gamma(25.0, 4.0))
    alpha = numpyro.sample("alpha", dist.HalfNormal(2.0))
    f_tilde = numpyro.sample("f_tilde", dist.Normal(0.0, 1.0).expand(x.shape).to_event(1))
    covariance = _squared_exponential(x, rho, alpha) + 1e-10 * jnp.eye(x.shape[0])
    f = numpyro.deterministic("f", jnp.linalg.cholesky(covariance) @ f_tilde)
    numpyro.sample("k", dist.Poisson(jnp.exp(f)), obs=k)


def normal_mixture(N: int, y: Any = None) -> None:
    """Mixture of two normals with ordered means; `theta` weighs the smaller mean."""
    mu = numpyro.sample("mu", OrderedNormal(0.0, 2.0, 2))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0).expand((2,)).to_event(1))
    theta = numpyro.sample("theta", dist.Beta(5.0, 5.0))
    weights = dist.Categorical(probs=jnp.stack([theta, 1.0 - theta]))
    with numpyro.plate("data", N):
        numpyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=y)


def hidden_markov(y: Any) -> None:
    """Hidden Markov model of two states with unit-variance normal emissions.

    The states are summed out by the forward recursion, from weight 1 for each first state: the
    factor is the log likelihood under a uniform first state, plus log 2.
    """
    theta1 = numpyro.sample("theta1", dist.Dirichlet(jnp.ones(2)))
    theta2 = numpyro.sample("theta2", dist.Dirichlet(jnp.ones(2)))
    prior = PositiveOrderedNormals(jnp.array([3.0, 10.0]), jnp.array([1.0, 1.0]))
    mu = numpyro.sample("mu", prior)
    log_transition = jnp.log(jnp.stack([theta1, theta2]))
    log_emission = dist.Normal(mu, 1.0).log_prob(jnp.asarray(y)[:, None])

    def step(log_alpha: jax.Array, log_emitted: jax.Array) -> tuple[jax.Array, None]:
        return logsumexp(log_alpha[:, None] + log_transition, axis=0) + log_emitted, None

    log_alpha, _ = jax.lax.scan(step, log_emission[0], log_emission[1:])
    numpyro.factor("log_likelihood", logsumexp(log_alpha))


def _log_populations(theta: Any, z_init: Any, ts: Any, substeps: int) -> jax.Array:
    """Integrate the logs of prey and predator from time 0 to the `ts`, (N, 2), by Runge-Kutta 4.

    On the log scale the populations stay positive and the errors are relative.
    """
    rate = jnp.stack([theta[0], -theta[2]])
    interaction = jnp.stack([-theta[1], theta[3]])

    def slope(log_z: jax.Array) -> jax.Array:
        return rate + interaction * jnp.exp(log_z[::-1])

    def step(log_z: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        k1 = slope(log_z)
        k2 = slope(log_z + 0.5 * h * k1)
        k3 = slope(log_z + 0.5 * h * k2)
        k4 = slope(log_z + h * k3)
        log_z = log_z + h * (k1 + 2.0 * k2 + 2.0 * k3 + k4) / 6.0
        return log_z, log_z

    intervals = jnp.diff(jnp.asarray(ts), prepend=0.0)
    steps = jnp.repeat(intervals / substeps, substeps)
    _, path = jax.lax.scan(step, jnp.log(z_init), steps)
    return path[substeps - 1 :: substeps]


def lotka_volterra(ts: Any, y_init: Any = None, y: Any = None) -> None:
    """Predator-prey dynamics with log-normal measurement error."""
    prior = dist.TruncatedNormal(
        jnp.array([1.0, 0.05, 1.0, 0.05]), jnp.array([0.5, 0.05, 0.5, 0.05]), low=0.0
    )
    theta = numpyro.sample("theta", prior.to_event(1))
    z_init = numpyro.sample("z_init", dist.LogNormal(jnp.log(10.0), 1.0).expand((2,)).to_event(1))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1.0, 1.0).expand((2,)).to_event(1))
    log_z = _log_populations(theta, z_init, ts, substeps=20)
    numpyro.sample("y_init", dist.LogNormal(jnp.log(z_init), sigma), obs=y_init)
    numpyro.sample("y", dist.LogNormal(log_z, sigma), obs=y)


def find_folder() -> Path | None:
    """Find the folder of the reference posteriors beside this project, if it is there."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "posteriordb"
    return folder if folder.is_dir() else None


def load_reference(folder: Path | str, name: str) -> dict[str, dict[str, float]]:
    """Read the summaries (`mean`, `sd`, `mcse_mean`, ...) of each scalar of a posterior."""
    return json.loads((Path(folder) / f"{name}.json").read_text())["parameters"]


def _load(folder: Path | str, name: str) -> dict[str, np.ndarray]:
    with np.load(Path(folder) / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def _scalars(**lengths: int | None) -> Scalars:
    return Scalars(tuple(lengths.items()))


def _with_intercept(*columns: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(columns[0])), *columns])


def _regressions(folder: Path | str) -> list[Case]:
    found = []

    def add(name: str, model: Model, proper: bool, X: np.ndarray, y: np.ndarray) -> None:
        extract = _scalars(beta=X.shape[1], sigma=None)
        found.append(Case(name, model, {"X": X, "y": y}, proper, extract))

    name = "kidiq-kidscore_momiq"
    d = _load(folder, name)
    X = _with_intercept(d["mom_iq"])
    add(name, regression_half_cauchy, False, X, d["kid_score"])

    name = "kidiq-kidscore_interaction"
    d = _load(folder, name)
    X = _with_intercept(d["mom_hs"], d["mom_iq"], d["mom_hs"] * d["mom_iq"])
    add(name, regression_half_cauchy, False, X, d["kid_score"])

    name = "earnings-logearn_interaction"
    d = _load(folder, name)
    X = _with_intercept(d["height"], d["male"], d["height"] * d["male"])
    add(name, regression_flat, False, X, np.log(d["earn"]))

    name = "mesquite-logmesquite"
    d = _load(folder, name)
    logged = ("diam1", "diam2", "canopy_height", "total_height", "density")
    X = _with_intercept(*(np.log(d[column]) for column in logged), d["group"])
    add(name, regression_flat, False, X, np.log(d["weight"]))

    for name in ("nes1980-nes", "nes1996-nes"):
        d = _load(folder, name)
        ages = [(d["age_discrete"] == age).astype(float) for age in (2, 3, 4)]
        before, after = (d["real_ideo"], d["race_adj"]), (d["educ1"], d["gender"], d["income"])
        X = _with_intercept(*before, *ages, *after)
        add(name, regression_flat, False, X, d["partyid7"])

    name = "sblrc-blr"
    d = _load(folder, name)
    add(name, regression_normal, True, d["X"], d["y"])
    return found


def _others(folder: Path | str) -> list[Case]:
    found = []

    name = "eight_schools-eight_schools_noncentered"
    d = _load(folder, name)
    J = int(d["J"])
    kwargs: dict[str, Any] = {"J": J, "sigma": d["sigma"], "y": d["y"]}
    extract = _scalars(theta=J, mu=None, tau=None)
    found.append(Case(name, eight_schools, kwargs, True, extract))

    name = "arK-arK"
    d = _load(folder, name)
    K = int(d["K"])
    lags = np.lib.stride_tricks.sliding_window_view(d["y"], K)[:-1, ::-1]
    kwargs = {"lags": lags.copy(), "y": d["y"][K:]}
    extract = _scalars(alpha=None, beta=K, sigma=None)
    found.append(Case(name, autoregression, kwargs, True, extract))

    name = "gp_pois_regr-gp_regr"
    d = _load(folder, name)
    kwargs = {"x": d["x"], "y": d["y"]}
    extract = _scalars(rho=None, alpha=None, sigma=None)
    found.append(Case(name, gp_regression, kwargs, True, extract))

    name = "gp_pois_regr-gp_pois_regr"
    d = _load(folder, name)
    kwargs = {"x": d["x"], "k": d["k"]}
    extract = _scalars(rho=None, alpha=None, f=len(d["x"]))
    found.append(Case(name, gp_poisson, kwargs, True, extract))

    name = "kilpisjarvi_mod-kilpisjarvi"
    d = _load(folder, name)
    kwargs = {key: d[key] for key in ("x", "pmualpha", "psalpha", "pmubeta", "psbeta", "y")}
    extract = _scalars(alpha=None, beta=None, sigma=None)
    found.append(Case(name, kilpisjarvi, kwargs, False, extract))

    name = "low_dim_gauss_mix-low_dim_gauss_mix"
    d = _load(folder, name)
    kwargs = {"N": int(d["N"]), "y": d["y"]}
    extract = _scalars(mu=2, sigma=2, theta=None)
    found.append(Case(name, normal_mixture, kwargs, True, extract))

    name = "hmm_example-hmm_example"
    kwargs = {"y": _load(folder, name)["y"]}
    extract = _scalars(theta1=2, theta2=2, mu=2)
    found.append(Case(name, hidden_markov, kwargs, True, extract))

    name = "arma-arma11"
    kwargs = {"y": _load(folder, name)["y"]}
    extract = _scalars(mu=None, phi=None, theta=None, sigma=None)
    # |theta| > 1, where the errors grow like theta^t, can hold a chain for good.
    start = {"mu": 0.0, "phi": 0.5, "theta": 0.0, "sigma": 1.0}
    initial = {site: np.array(value) for site, value in start.items()}
    found.append(Case(name, arma11, kwargs, True, extract, initial))

    name = "hudson_lynx_hare-lotka_volterra"
    d = _load(folder, name)
    kwargs = {key: d[key] for key in ("ts", "y_init", "y")}
    extract = _scalars(theta=4, z_init=2, sigma=2)
    # Far from here trajectories are stiff or overflow.
    initial = {
        "theta": np.array([0.5, 0.03, 0.8, 0.03]),
        "z_init": np.array([30.0, 5.0]),
        "sigma": np.array([0.3, 0.3]),
    }
    found.append(Case(name, lotka_volterra, kwargs, True, extract, initial))
    return found


def cases(folder: Path | str) -> list[Case]:
    """Collect all sixteen posteriors, their data read from `folder`."""
    return _regressions(folder) + _others(folder)


@dataclass(frozen=True)
class Accuracy:
    """How far a posterior is from its reference.

    Attributes:
        name: of the case.
        largest_z: largest |mean - reference| in combined Monte Carlo errors.
        sd_off: largest relative difference of a standard deviation.
        worst: the scalars of these two.
        smallest_ess: of any scalar.
        largest_rhat: of any scalar; NaN for weighted draws.
        divergent: share of divergent transitions; NaN for weighted draws.
        seconds: compile and run time together.
    """

    name: str
    largest_z: float
    sd_off: float
    worst: tuple[str, str]
    smallest_ess: float
    largest_rhat: float
    divergent: float
    seconds: float


def accuracy(folder: Path | str, case: Case, method: Any) -> Accuracy:
    """Fit `case` by `method` and compare means and sds of every scalar with the reference."""
    import probinf as pi
    from probinf.results.summary import summarise

    program = pi.from_numpyro(case.model, **case.kwargs)
    posterior = pi.sample(program, method, key=1, progress=False)
    scalars = case.extract(posterior.draws)
    summary = summarise(scalars, posterior.log_weights, posterior.clusters)
    reference = load_reference(folder, case.name)
    names = list(reference)
    column = {c: np.array([summary[n][c] for n in names]) for c in summary.columns}
    mean, sd, error = (
        np.array([reference[n][k] for n in names]) for k in ("mean", "sd", "mcse_mean")
    )
    z = np.abs(column["mean"] - mean) / np.hypot(error, column["mcse"])
    off = np.abs(column["sd"] / sd - 1)
    ess = column["ess"] if posterior.weighted else column["ess_bulk"]
    divergent = posterior.stats.get("divergent")
    return Accuracy(
        case.name,
        float(z.max()),
        float(off.max()),
        (names[int(z.argmax())], names[int(off.argmax())]),
        float(ess.min()),
        float("nan") if posterior.weighted else float(column["r_hat"].max()),
        float("nan") if divergent is None else float(divergent.mean()),
        posterior.provenance["compile_seconds"] + posterior.provenance["run_seconds"],
    )


def engines(case: Case) -> dict[str, Any]:
    """The engines that serve a case, by name, with the options of the figures."""
    import probinf as pi

    found: dict[str, Any] = {"NUTS": pi.NUTS()}
    if case.name == "gp_pois_regr-gp_pois_regr":
        found["NUTS"] = pi.NUTS(kernel=pi.kernels.NUTS(target_acceptance=0.95))
    if case.name.startswith("eight_schools"):  # the sd of tau, with its heavy tail, needs them
        found["NUTS"] = pi.NUTS(draws=2000)
    if case.proper:
        found["SMC"] = pi.SMC(particles=2000)
    return found
