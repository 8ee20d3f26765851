"""Sunspots: which periods stand out of the noise, if the noise is red and white at once?

The square root of the yearly number of sunspots, 1700 to 2008 (bundled with statsmodels). A wavelet
spectrum needs a law of the noise to stand out of. The usual one, an autoregression of order one,
calls too much a period where white noise lies on top of red; the sum of both does not. Its
posterior by NUTS is compared with a grid, and both tests are tried on series without any period.

Needs statsmodels, the extra `docs`.

    python examples/sunspots_wavelet.py [folder for the picture]
"""

import sys

import numpy as np
import numpyro
import numpyro.distributions as dist

try:
    from statsmodels.datasets import sunspots
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[docs]"') from None

import probinf as pi

N = 309
FREQUENCY = np.arange(1, N // 2 + 1) / N
PERIODS = 2 ** np.arange(1.25, 6.5, 0.125)  # years
MEMORY, SHARE = np.meshgrid(np.linspace(0.02, 0.98, 33), np.linspace(0.0, 0.98, 15))
LEVEL, SERIES = 0.05, 400  # of the tests; series for the trial of each


LAG = np.arange(1, N)
WAVES = 2 * (1 - LAG / N) * np.cos(2 * np.pi * np.outer(FREQUENCY, LAG))  # leakage and all


def shape(memory, share):
    """Expected periodogram of red noise with this memory and a share of white, variance one.

    Of N years, not of endless ones (Sykulski et al., 2019): red noise leaks to high frequencies.
    """
    return (1 - share) * (1 + memory**LAG @ WAVES.T) + share


SHAPES = np.asarray(shape(MEMORY.reshape(-1, 1), SHARE.reshape(-1, 1)), float)


def model(periodogram=None):
    """Each ordinate of the periodogram is exponential around the spectrum (Whittle, 1953)."""
    memory = numpyro.sample("memory", dist.Uniform(0.01, 0.99))
    share = numpyro.sample("share", dist.Uniform(0.0, 1.0))
    size = numpyro.sample("size", dist.LogNormal(0.0, 10.0))
    law = dist.Exponential(1 / (size * shape(memory, share)))
    numpyro.sample("periodogram", law.to_event(1), obs=periodogram)


def periodograms(x):
    """Power at every frequency, for rows of series of mean zero."""
    return np.abs(np.fft.rfft(x - x.mean(-1, keepdims=True))[..., 1:]) ** 2 / N


def windows():
    """Morlet wavelets as weights over frequencies; rows are periods."""
    angle = 2 * np.pi * FREQUENCY * PERIODS[:, None] * 6 / (2 * np.pi)
    return np.exp(-0.5 * (angle - 6) ** 2)


def fitted(power, shapes):
    """Posterior weights of the shapes and mean spectra, the size integrated (prior 1 / size)."""
    ratio = power @ (1 / shapes).T
    log = -np.log(shapes).sum(1) - power.shape[-1] * np.log(ratio)
    w = np.exp(log - log.max(-1, keepdims=True))
    w = w / w.sum(-1, keepdims=True)
    return w, (w * ratio / (power.shape[-1] - 1)) @ shapes


def excess(power, shapes):
    """The wavelet spectrum over what the fitted noise expects, for every period."""
    W = windows()
    return power @ W.T / (fitted(power, shapes)[1] @ W.T)


def p_value(power, shapes, rng, replicates=99):
    """Share of series from the fitted noise, fitted again, that stand out as much."""
    w, _ = fitted(power, shapes)
    chosen = rng.choice(len(shapes), size=replicates, p=w)
    new = shapes[chosen] * rng.exponential(size=(replicates, FREQUENCY.size))
    top = excess(new, shapes).max(-1)
    return (1 + np.sum(top >= excess(power, shapes).max())) / (1 + replicates)


def noise(rng, rows, memory=0.95, share=0.5):
    """Red and white noise in time, variance one."""
    e = rng.normal(size=(rows, N + 200))
    red = np.zeros_like(e)
    for t in range(1, N + 200):
        red[:, t] = memory * red[:, t - 1] + np.sqrt(1 - memory**2) * e[:, t]
    return np.sqrt(1 - share) * red[:, 200:] + np.sqrt(share) * rng.normal(size=(rows, N))


def draw(years, x, over, folder):
    """Power over the noise in time and period, and its average."""
    import matplotlib.pyplot as plt

    frequency = np.fft.fftfreq(N)
    window = np.exp(-0.5 * (6 * frequency * PERIODS[:, None] - 6) ** 2) * (frequency > 0)
    local = np.abs(np.fft.ifft(np.fft.fft(x - x.mean()) * window)) ** 2
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8, 3.2), width_ratios=(3, 1), sharey=True, layout="constrained"
    )
    left.pcolormesh(years, PERIODS, np.sqrt(local), cmap="magma", shading="nearest")
    left.set(yscale="log", ylabel="period, years", yticks=[3, 6, 11, 22, 44])
    left.yaxis.set_major_formatter("{x:.0f}")
    left.minorticks_off()
    right.plot(over, PERIODS)
    right.axvline(1, color="0.7", lw=0.8)
    right.set_xlabel("power over noise")
    figure.savefig(f"{folder}/sunspots_wavelet.png")


def main(folder=None, key=0):
    """Fit the noise, look for periods, try the tests, draw."""
    table = sunspots.load_pandas().data
    x = np.sqrt(table["SUNACTIVITY"].to_numpy())
    power = periodograms(x)
    fit = pi.sample(
        pi.from_numpyro(model, power), pi.NUTS(warmup=500, draws=1000), key=key, progress=False
    )
    rows = fit.summary()
    w, _ = fitted(power, SHAPES)
    grid = {"memory": w @ MEMORY.ravel(), "share": w @ SHARE.ravel()}
    print(rows, "\nby the grid:", {name: round(float(v), 3) for name, v in grid.items()})

    rng, red = np.random.default_rng(key), SHAPES[: MEMORY.shape[1]]  # without white noise
    over = excess(power, SHAPES)
    p, longest = p_value(power, SHAPES, rng, 499), PERIODS[over.argmax()]
    print(f"period of {longest:.1f} years: {over.max():.1f} times the noise, p = {p:.3f}")
    quiet = periodograms(noise(rng, SERIES))
    wave = 2 * np.sin(2 * np.pi * np.arange(N) / 11 + 1)  # amplitude: two sds of the noise
    loud = periodograms(noise(rng, SERIES) + wave)
    alarms = {
        "red and white": float(np.mean([p_value(q, SHAPES, rng) <= LEVEL for q in quiet])),
        "red alone": float(np.mean([p_value(q, red, rng) <= LEVEL for q in quiet])),
    }
    found = np.mean([p_value(q, SHAPES, rng) <= LEVEL for q in loud])
    print("false alarms at 5 %:", alarms, f"; detected at S/N 2: {found:.0%}")
    if folder:
        draw(table["YEAR"].to_numpy(), x, over, folder)

    for name, value in grid.items():
        assert abs(rows[name]["mean"] - value) < 0.15 * rows[name]["sd"] + 0.01, name
    assert 10 < longest < 12 and p < 0.01
    chance = 4 * np.sqrt(LEVEL * (1 - LEVEL) / SERIES)
    assert abs(alarms["red and white"] - LEVEL) < chance, alarms
    assert alarms["red alone"] > 0.1 and found > 0.9
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
