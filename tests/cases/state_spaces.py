"""State-space programs made by hand: finite and linear-Gaussian with exact answers, volatility."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.core.program import Program
from probinf.core.sequence import Sequence, StateSpace
from probinf.samplers.pmcmc.space import OnPrior


def _taken_apart(data):
    return StateSpace(*data)


def by_hand(prior: Program, sequence: Sequence) -> Program:
    """A program of the parameters that says what its states are."""
    names = ("draw", "start", "score", "constrain")
    lifted = {name: OnPrior(_taken_apart, name) for name in names}
    return Program(**lifted, data=(prior, sequence), state_space=_taken_apart)


# --- a finite hidden Markov model: two states, three outcomes, one parameter ------------------

FINITE_Y = np.array([0, 2, 1, 1])
FIRST = np.array([0.7, 0.3])
EMITTED = np.array([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])


def stay_prior():
    numpyro.sample("stay", dist.Beta(3.0, 2.0))


def _moves(stay):
    return jnp.array([[stay, 1 - stay], [1 - stay, stay]])


def _emits(state, y):
    return jnp.log(jnp.asarray(EMITTED))[state, y]


def finite_start(key, data):
    state = jax.random.categorical(key, jnp.log(jnp.asarray(FIRST)))
    return {"z": state}, finite_weigh_start({"z": state}, data)


def finite_weigh_start(state, data):
    return _emits(state["z"], data[1])


def finite_log_start(state, data):
    return jnp.log(jnp.asarray(FIRST))[state["z"]] + _emits(state["z"], data[1])


def finite_extend(key, state, y, data):
    after = jax.random.categorical(key, jnp.log(_moves(data[0]["stay"]))[state["z"]])
    return {"z": after}, _emits(after, y)


def finite_weigh(state, after, y, data):
    return _emits(after["z"], y)


def finite_log_transition(state, after, y, data):
    return jnp.log(_moves(data[0]["stay"]))[state["z"], after["z"]] + _emits(after["z"], y)


def finite_sequence(y: np.ndarray = FINITE_Y) -> Sequence:
    return Sequence(
        finite_start,
        finite_extend,
        jnp.asarray(y[1:]),
        jnp.asarray(y[0]),
        log_transition=finite_log_transition,
        log_start=finite_log_start,
        weigh_start=finite_weigh_start,
        weigh=finite_weigh,
    )


def finite(y: np.ndarray = FINITE_Y) -> Program:
    return by_hand(pi.from_numpyro(stay_prior), finite_sequence(y))


def finite_paths(stay: float, y: np.ndarray = FINITE_Y) -> tuple[np.ndarray, np.ndarray]:
    """All paths, and the joint probability of each with the data."""
    paths = np.array(list(itertools.product((0, 1), repeat=len(y))))
    moves = np.array([[stay, 1 - stay], [1 - stay, stay]])
    mass = FIRST[paths[:, 0]] * EMITTED[paths[:, 0], y[0]]
    for t in range(1, len(y)):
        mass = mass * moves[paths[:, t - 1], paths[:, t]] * EMITTED[paths[:, t], y[t]]
    return paths, mass


# --- a local level: the Nile ------------------------------------------------------------------

# annual flow of the Nile at Aswan, 1871-1970, 1e8 cubic metres (Cobb 1978; R's `Nile`)
# fmt: off
NILE = np.array([
    1120, 1160, 963, 1210, 1160, 1160, 813, 1230, 1370, 1140, 995, 935, 1110, 994, 1020, 960,
    1180, 799, 958, 1140, 1100, 1210, 1150, 1250, 1260, 1220, 1030, 1100, 774, 840, 874, 694,
    940, 833, 701, 916, 692, 1020, 1050, 969, 831, 726, 456, 824, 702, 1120, 1100, 832, 764,
    821, 768, 845, 864, 862, 698, 845, 744, 796, 1040, 759, 781, 865, 845, 944, 984, 897, 822,
    1010, 771, 676, 649, 846, 812, 742, 801, 1040, 860, 874, 848, 890, 744, 749, 838, 1050, 918,
    986, 797, 923, 975, 815, 1020, 906, 901, 1170, 912, 746, 919, 718, 714, 740,
], float)
# fmt: on


def nile_prior():
    numpyro.sample("level_sd", dist.LogNormal(jnp.log(40.0), 0.7))
    numpyro.sample("noise_sd", dist.LogNormal(jnp.log(120.0), 0.4))


CENTRE, WIDTH = 1000.0, 300.0


def level_start(key, data):
    state = {"level": CENTRE + WIDTH * jax.random.normal(key)}
    return state, level_weigh_start(state, data)


def level_weigh_start(state, data):
    return dist.Normal(state["level"], data[0]["noise_sd"]).log_prob(data[1])


def level_log_start(state, data):
    return dist.Normal(CENTRE, WIDTH).log_prob(state["level"]) + level_weigh_start(state, data)


def level_extend(key, state, y, data):
    after = {"level": state["level"] + data[0]["level_sd"] * jax.random.normal(key)}
    return after, level_weigh(state, after, y, data)


def level_weigh(state, after, y, data):
    return dist.Normal(after["level"], data[0]["noise_sd"]).log_prob(y)


def level_log_transition(state, after, y, data):
    step = dist.Normal(state["level"], data[0]["level_sd"]).log_prob(after["level"])
    return step + level_weigh(state, after, y, data)


def nile(years: int = 100) -> Program:
    y = jnp.asarray(NILE[:years])
    sequence = Sequence(
        level_start,
        level_extend,
        y[1:],
        y[0],
        log_transition=level_log_transition,
        log_start=level_log_start,
        weigh_start=level_weigh_start,
        weigh=level_weigh,
    )
    return by_hand(pi.from_numpyro(nile_prior), sequence)


def level_log_likelihood(y: np.ndarray, level_sd: np.ndarray, noise_sd: np.ndarray) -> np.ndarray:
    """Exact, by the Kalman filter, for arrays of parameters."""
    mean, variance = np.full(np.shape(level_sd), CENTRE), np.full(np.shape(level_sd), WIDTH**2)
    total = np.zeros(np.shape(level_sd))
    for t, value in enumerate(y):
        if t:
            variance = variance + level_sd**2
        spread = variance + noise_sd**2
        total -= 0.5 * (np.log(2 * np.pi * spread) + (value - mean) ** 2 / spread)
        gain = variance / spread
        mean, variance = mean + gain * (value - mean), (1 - gain) * variance
    return total


def nile_exact(years: int = 100) -> dict[str, float]:
    """Log evidence and posterior moments by a fine grid over both parameters."""
    a = np.exp(np.log(40.0) + 0.7 * np.linspace(-6, 6, 241))[:, None]
    b = np.exp(np.log(120.0) + 0.4 * np.linspace(-6, 6, 241))[None, :]
    a, b = np.broadcast_arrays(a, b)
    steps = 12 / 240
    log_prior = -0.5 * ((np.log(a / 40) / 0.7) ** 2 + (np.log(b / 120) / 0.4) ** 2)
    log_prior = log_prior - np.log(2 * np.pi) + 2 * np.log(steps)
    joint = log_prior + level_log_likelihood(NILE[:years], a, b)
    log_z = np.logaddexp.reduce(joint, axis=None)
    w = np.exp(joint - log_z)
    moments = {"log_evidence": float(log_z)}
    for name, value in (("level_sd", a), ("noise_sd", b)):
        moments[name] = float((w * value).sum())
        moments[f"{name}^2"] = float((w * value**2).sum())
    return moments


# --- stochastic volatility --------------------------------------------------------------------


def volatility_prior():
    numpyro.sample("mu", dist.Normal(0.0, 2.0))
    numpyro.sample("phi", dist.Beta(20.0, 1.5))
    numpyro.sample("sigma", dist.LogNormal(-1.5, 0.5))


def volatility_start(key, data):
    p = data[0]
    width = p["sigma"] / jnp.sqrt(1 - p["phi"] ** 2)
    state = {"h": p["mu"] + width * jax.random.normal(key)}
    return state, volatility_weigh_start(state, data)


def _returns(h, y):
    return dist.Normal(0.0, jnp.exp(h / 2)).log_prob(y)


def volatility_weigh_start(state, data):
    return _returns(state["h"], data[1])


def volatility_log_start(state, data):
    p = data[0]
    width = p["sigma"] / jnp.sqrt(1 - p["phi"] ** 2)
    return dist.Normal(p["mu"], width).log_prob(state["h"]) + _returns(state["h"], data[1])


def _ahead(h, p):
    return dist.Normal(p["mu"] + p["phi"] * (h - p["mu"]), p["sigma"])


def volatility_extend(key, state, y, data):
    after = {"h": _ahead(state["h"], data[0]).sample(key)}
    return after, _returns(after["h"], y)


def volatility_weigh(state, after, y, data):
    return _returns(after["h"], y)


def volatility_log_transition(state, after, y, data):
    return _ahead(state["h"], data[0]).log_prob(after["h"]) + _returns(after["h"], y)


def volatility(y: np.ndarray) -> Program:
    y = jnp.asarray(y)
    sequence = Sequence(
        volatility_start,
        volatility_extend,
        y[1:],
        y[0],
        log_transition=volatility_log_transition,
        log_start=volatility_log_start,
        weigh_start=volatility_weigh_start,
        weigh=volatility_weigh,
    )
    return by_hand(pi.from_numpyro(volatility_prior), sequence)


def volatility_scan(y):
    """The same model as users of NumPyro write it."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    phi = numpyro.sample("phi", dist.Beta(20.0, 1.5))
    sigma = numpyro.sample("sigma", dist.LogNormal(-1.5, 0.5))
    noise = numpyro.sample("noise", dist.Normal(0, 1).expand([len(y)]).to_event(1))

    def step(h, e):
        h = mu + phi * (h - mu) + sigma * e
        return h, h

    first = mu + sigma / jnp.sqrt(1 - phi**2) * noise[0]
    _, rest = jax.lax.scan(step, first, noise[1:])
    h = numpyro.deterministic("h", jnp.concatenate([first[None], rest]))
    numpyro.sample("y", dist.Normal(0, jnp.exp(h / 2)), obs=y)
