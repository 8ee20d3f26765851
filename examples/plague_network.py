"""Plague: a network learns the posterior of a simulator, and is corrected exactly.

Deaths of plague in Bombay, week by week from December 1905 to July 1906, and the epidemic curve of
Kermack and McKendrick (1927), who drew it by hand through these numbers: 890 / cosh²(.2 t - 3.4). A
network is trained on simulated epidemics (NPE), answers for the observed one, and `refine` corrects
its answer with the likelihood. Markov chains and bridge sampling say what is right.

    python examples/plague_network.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi
from probinf.amortized import NPE, refinement

DEATHS = np.fromstring(
    """
8 10 12 16 24 48 51 92 124 178 280 387 442 644 779 702 695 870 925 802 578 404 296 162 106 64 46 35
27 28 24
""",
    sep=" ",
)
WEEK = jnp.arange(1.0, DEATHS.size + 1)


def epidemic(log_deaths=None):
    """A peak of some height and rate at some week, and deaths that scatter around it."""
    height = numpyro.sample("height", dist.LogNormal(jnp.log(700.0), 0.7))
    rate = numpyro.sample("rate", dist.LogNormal(jnp.log(0.25), 0.4))
    peak = numpyro.sample("peak", dist.Normal(16.0, 4.0))
    scatter = numpyro.sample("scatter", dist.LogNormal(jnp.log(0.3), 0.5))
    curve = height / jnp.cosh(jnp.clip(rate * (WEEK - peak), -20, 20)) ** 2
    law = dist.Normal(jnp.log(curve + 1.0), scatter).to_event(1)  # one more: a sporadic case
    numpyro.sample("log_deaths", law, obs=log_deaths)


def draw(exact, folder):
    """The deaths with the epidemics that the corrected posterior predicts."""
    import matplotlib.pyplot as plt

    replicated = np.exp(exact.predict(key=1)["log_deaths"]).reshape(-1, DEATHS.size)
    low, middle, high = np.quantile(replicated, [0.05, 0.5, 0.95], axis=0)
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.fill_between(WEEK, low, high, alpha=0.3, label="90 % of the predictions")
    axis.plot(WEEK, middle)
    axis.plot(WEEK, DEATHS, "o", ms=4, color="C3", label="deaths")
    axis.plot(WEEK, 890 / np.cosh(0.2 * WEEK - 3.4) ** 2, "k--", lw=1, label="drawn in 1927")
    axis.set_xlabel("week")
    axis.legend(frameon=False)
    figure.savefig(f"{folder}/plague_network.png")


def main(folder=None, key=0):
    """Train, ask, correct, compare, draw."""
    program = pi.from_numpyro(epidemic, log_deaths=np.log(DEATHS))
    method = NPE(simulations=3000, layers=2, hidden=(32, 32), bins=6)
    fitted = method.fit(program, key=key, steps=1000, progress=False)
    q = fitted.posterior(np.log(DEATHS))
    learned = pi.sample(q, pi.Importance(draws=4000), key=key, progress=False)
    exact = pi.refine(program, q, key=key, progress=False)
    chains = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=1000), key=key, progress=False)
    bridge = pi.bridge(chains, key=key)
    print(refinement(exact))
    rows = {"network": learned, "corrected": exact, "NUTS": chains}
    for name, fit in rows.items():
        row = fit.summary()
        cells = (f"{s} {row[s]['mean']:.3f} ± {row[s]['sd']:.3f}" for s in row)
        print(f"{name:12}", ", ".join(cells))
    print("log evidence", exact.log_evidence, "and by a bridge from NUTS", bridge)
    if folder:
        draw(exact, folder)

    for name in ("height", "rate", "peak", "scatter"):
        ours, theirs = exact.summary()[name], chains.summary()[name]
        z = (ours["mean"] - theirs["mean"]) / np.hypot(ours["mcse"], theirs["mcse"])
        assert abs(z) < 5, f"{name}: {z:.1f} errors from NUTS"
        assert abs(ours["sd"] / theirs["sd"] - 1) < 0.25, name
    both = exact.log_evidence, bridge
    assert abs(both[0].value - both[1].value) < 5 * np.hypot(*(e.error for e in both)), both
    corrected = exact.summary()
    for name, drawn in {"rate": 0.2, "peak": 17.0, "height": 890.0}.items():
        assert abs(corrected[name]["mean"] / drawn - 1) < 0.25, name  # by hand, in 1927
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
