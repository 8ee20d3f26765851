"""The Nile: in which year did its flow change, and by how much?

The annual flow at Aswan from 1871 to 1970, in 10^8 cubic metres (Cobb, 1978). One level until some
year, another level after it. The year is a discrete site, which is summed out, so that NUTS moves
the rest; it comes back afterwards with its probabilities, which are compared with exact ones.

Needs the extra `discrete`.

    python examples/nile_change_point.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from scipy.special import logsumexp
from scipy.stats import norm

import probinf as pi

FLOW = (
    np.fromstring(
        """
1120 1160 963 1210 1160 1160 813 1230 1370 1140 995 935 1110 994 1020 960 1180 799 958 1140 1100
1210 1150 1250 1260 1220 1030 1100 774 840 874 694 940 833 701 916 692 1020 1050 969 831 726 456
824 702 1120 1100 832 764 821 768 845 864 862 698 845 744 796 1040 759 781 865 845 944 984 897 822
1010 771 676 649 846 812 742 801 1040 860 874 848 890 744 749 838 1050 918 986 797 923 975 815 1020
906 901 1170 912 746 919 718 714 740
""",
        sep=" ",
    )
    / 100
)
YEARS = 1871 + np.arange(FLOW.size)


def model(flow):
    """The year of the change, two levels, one spread."""
    change = numpyro.sample(
        "change", dist.Categorical(jnp.full(flow.size - 1, 1 / (flow.size - 1)))
    )
    level = numpyro.sample("level", dist.Normal(10.0, 5.0).expand([2]).to_event(1))
    spread = numpyro.sample("spread", dist.HalfNormal(2.0))
    later = (jnp.arange(flow.size) > change).astype(int)
    with numpyro.plate("year", flow.size):
        numpyro.sample("flow", dist.Normal(level[later], spread), obs=flow)


def exact():
    """Probability of each last year of the old level: levels by hand, the spread by quadrature."""
    spread = np.linspace(0.6, 2.6, 400)

    def segment(y):  # log density of one level's years, the level integrated out
        n, var = len(y), spread**2
        tied = 25.0 + var / n
        inner = -0.5 * (n - 1) * np.log(2 * np.pi * var) - 0.5 * np.log(n)
        inner = inner - 0.5 * ((y - y.mean()) ** 2).sum() / var
        return inner - 0.5 * np.log(2 * np.pi * tied) - 0.5 * (y.mean() - 10) ** 2 / tied

    log_prior = norm.logpdf(spread, 0, 2)
    rows = [segment(FLOW[:k]) + segment(FLOW[k:]) + log_prior for k in range(1, FLOW.size)]
    log_mass = logsumexp(np.array(rows), axis=1)
    return np.exp(log_mass - logsumexp(log_mass))


def draw(probability, level, folder):
    """The flow, its levels, and when they changed."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    axis.plot(YEARS, FLOW, ".-", color="0.6", lw=0.5)
    before = np.append(probability, 0.0)[::-1].cumsum()[::-1]  # probability of the old level
    axis.plot(YEARS, before * level[0] + (1 - before) * level[1], color="C3")
    axis.set(ylabel="flow, 10$^{10}$ m³ a year")
    below = axis.twinx()
    below.bar(YEARS[:-1], probability, color="C0", alpha=0.6)
    below.set(ylim=(0, 1.5), ylabel="last year of the old level")
    figure.savefig(f"{folder}/nile_change_point.png")


def main(folder=None, key=0):
    """Fit, decode, compare."""
    program = pi.from_numpyro(model, FLOW)
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=1000), key=key, progress=False)
    print(fit.summary())
    probability = np.asarray(fit.responsibilities()["change"]).ravel()
    truth = exact()
    for k in np.argsort(truth)[::-1][:4]:
        print(f"{YEARS[k]}: probability {probability[k]:.3f}, exact {truth[k]:.3f}")
    level = fit.draws["level"].mean((0, 1))
    print(f"levels {100 * level[0]:.0f} and {100 * level[1]:.0f}")
    if folder:
        draw(probability, level, folder)

    assert YEARS[truth.argmax()] == 1898  # Cobb: the last year of the old level
    apart = 0.5 * np.abs(probability - truth).sum()
    assert apart < 0.03, f"total variation from the exact probabilities is {apart:.3f}"
    assert np.abs(100 * level - [1098, 850]).max() < 15  # means before and after 1898
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
