"""Lynx again: a filter whose every step is one pass of a network.

The logarithm of lynx trapped each year swings like a damped pendulum that is pushed at random:
position and velocity turn by an angle, shrink, and are disturbed; only the position is seen. A
shipped Distribution Transformer takes each posterior, moved one year on, as its next prior. With
these normal laws Kalman's filter is exact, and the two must agree.

    python examples/lynx_filter.py [folder for the picture]
"""

import sys

import jax.numpy as jnp
import numpy as np

import probinf as pi
from probinf.amortized import GaussianMixture, LinearMotion, oracles

TRAPPED = np.fromstring(
    """
269 321 585 871 1475 2821 3928 5943 4950 2577 523 98 184 279 409 2285 2685 3409 1824 409 151 45 68
213 546 1033 2129 2536 957 361 377 225 360 731 1638 2725 2871 2119 684 299 236 245 552 1623 3311
6721 4254 687 255 473 358 784 1594 1676 2251 1426 756 299 201 229 469 736 2042 2811 4431 2511 389
73 39 49 59 188 377 1292 4031 3495 587 105 153 387 758 1307 3465 6991 6313 3794 1836 345 382 808
1388 2713 3800 3091 2985 3790 374 81 80 108 229 399 1132 2432 3574 2935 1537 529 485 662 1000 1590
2657 3396
""",
    sep=" ",
)
YEARS = 1821 + np.arange(TRAPPED.size)
PERIOD, SHRINK, PUSH, BLUR = 9.6, 0.95, 0.1, 0.25  # years; variances of push and of what is seen


def draw(z, filtered, kalman, folder):
    """What is seen, and the velocity, which is not."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(7, 4), sharex=True, layout="constrained")
    top.plot(YEARS, z, ".", color="0.5")
    top.plot(YEARS, filtered[:, 0])
    top.set_ylabel("log lynx")
    bottom.plot(YEARS, filtered[:, 1], label="network")
    bottom.plot(YEARS, kalman[:, 1], "k--", lw=1, label="Kalman")
    bottom.set_ylabel("velocity")
    bottom.legend(frameon=False)
    figure.savefig(f"{folder}/lynx_filter.png")


def main(folder=None):
    """Filter, compare, draw."""
    z = np.log(TRAPPED)
    z = (z - z.mean()) / z.std()
    angle = 2 * np.pi / PERIOD
    matrix = SHRINK * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    push = PUSH * np.eye(2)
    network = pi.amortized.load("dt-position")
    start = GaussianMixture.normal(jnp.zeros(2), jnp.eye(2), components=3)
    motion = LinearMotion(jnp.asarray(matrix), jnp.asarray(push))
    filtered = pi.amortized.filter(network, motion, start, z, sensor=[[1.0, 0.0]])
    kalman, covariances, _ = oracles.kalman_filter(
        z,
        transition=matrix,
        process_noise=push,
        matrix=[[1.0, 0.0]],
        noise=[[BLUR]],
        mean=np.zeros(2),
        covariance=np.eye(2),
    )
    sd = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    means = np.asarray(filtered.means)
    apart = np.abs(means - kalman) / sd
    print(f"distance from the exact filter: {apart.mean():.3f} sd, at most {apart.max():.2f}")
    ahead = (means @ matrix.T)[:-1, 0]
    error, last = (np.sqrt(np.mean((z[1:] - guess) ** 2)) for guess in (ahead, z[:-1]))
    print(f"error of the forecast for the next year {error:.2f}; last year's value {last:.2f}")
    if folder:
        draw(z, means, kalman, folder)

    assert apart.mean() < 0.2 and apart.max() < 1.5, apart.max()
    assert error < 0.9 * last
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
