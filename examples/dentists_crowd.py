"""Dentists: how many teeth are rotten, when five dentists disagree about 3,869 X-rays?

Five dentists looked at X-rays of 3,869 teeth for caries (Espeland and Handelman, 1989); nobody
knows the truth. The model of Dawid and Skene gives each dentist a probability of finding what is
there and of seeing what is not. The truth of every tooth is summed out, and comes back as a
probability. The answer is compared with maximum likelihood by EM, written out here.

Needs the extra `discrete`.

    python examples/dentists_crowd.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

import probinf as pi

# how often each pattern of answers (dentist 1 to 5, in binary) was seen
COUNTS = np.fromstring(
    """
1880 789 43 75 23 63 8 22 188 191 17 67 15 85 8 56 22 26 6 14 1 20 2 17 2 20 6 27 3 72 1 100
""",
    int,
    sep=" ",
)
PATTERNS = (np.arange(32)[:, None] >> np.arange(4, -1, -1)) & 1


def model(answers):
    """Each tooth is rotten or not; each dentist sees it rightly with a probability of his own."""
    share = numpyro.sample("share", dist.Beta(1.0, 4.0))
    finds = numpyro.sample("finds", dist.Beta(4.0, 2.0).expand([5]).to_event(1))
    fewer = numpyro.sample("fewer", dist.Beta(1.0, 2.0).expand([5]).to_event(1))
    alarms = numpyro.deterministic("alarms", finds * fewer)  # else the two truths could be swapped
    with numpyro.plate("tooth", len(answers)):
        rotten = numpyro.sample("rotten", dist.Bernoulli(share))
        says = jnp.where(rotten[..., None] == 1, finds, alarms)
        numpyro.sample("answers", dist.Bernoulli(says).to_event(1), obs=answers)


def em(steps=2000):
    """Maximum likelihood: share, finds, alarms, and the probability of each pattern."""
    given = PATTERNS.mean(1)
    for _ in range(steps):
        w, v = COUNTS * given, COUNTS * (1 - given)
        share, finds, alarms = (
            w.sum() / COUNTS.sum(),
            w @ PATTERNS / w.sum(),
            v @ PATTERNS / v.sum(),
        )
        yes = share * np.prod(np.where(PATTERNS == 1, finds, 1 - finds), 1)
        no = (1 - share) * np.prod(np.where(PATTERNS == 1, alarms, 1 - alarms), 1)
        given = yes / (yes + no)
    return share, finds, alarms, given


def draw(fit, folder):
    """The dentists: what they find and what they see that is not there."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(4.2, 4), layout="constrained")
    for k in range(5):
        x, y = fit.draws["alarms"][..., k].ravel(), fit.draws["finds"][..., k].ravel()
        axis.plot(x[::4], y[::4], ".", ms=2, alpha=0.4)
        axis.annotate(str(k + 1), (x.mean(), y.mean()), fontsize=12, weight="bold")
    axis.set(xlabel="says caries where there is none", ylabel="finds caries", xlim=(0, None))
    figure.savefig(f"{folder}/dentists_crowd.png")


def main(folder=None, key=0):
    """Fit, decode, compare, draw."""
    program = pi.from_numpyro(model, np.repeat(PATTERNS, COUNTS, axis=0))
    fit = pi.sample(program, pi.NUTS(chains=2, warmup=300, draws=400), key=key, progress=False)
    rows = fit.summary()
    print(rows)
    teeth = np.asarray(fit.responsibilities()["rotten"])[:, 1]
    probability = teeth[np.cumsum(COUNTS) - 1]  # one tooth of each pattern
    share, finds, alarms, given = em()
    print(f"share: {rows['share']['mean']:.3f}, by EM {share:.3f}")
    print("the most doubtful patterns (1 = caries), and the probability of caries: posterior, EM")
    for k in np.argsort(np.abs(given - 0.5))[:5]:
        print(COUNTS[k], "teeth", PATTERNS[k], f"{probability[k]:.3f} {given[k]:.3f}")
    majority = COUNTS @ (PATTERNS.sum(1) >= 3) / COUNTS.sum()
    print(f"a majority says caries for {majority:.3f}")
    if folder:
        draw(fit, folder)

    assert COUNTS.sum() == 3869
    assert np.nanmax(rows.columns["r_hat"]) < 1.1
    for name, value in {"share": [share], "finds": finds, "alarms": alarms}.items():
        for k, v in enumerate(value):
            row = rows[name if name == "share" else f"{name}[{k}]"]
            assert abs(row["mean"] - v) < row["sd"], (
                f"{name}[{k}]: {row['mean']:.3f} against {v:.3f}"
            )
    assert np.abs(probability - given).max() < 0.1
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
