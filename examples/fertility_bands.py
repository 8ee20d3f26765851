"""Children per woman: a band for the whole next decade of a country, learned from other countries.

Total fertility rates of some 190 countries since 1982 (World Bank; bundled with statsmodels). Ten
years are forecast from the trend before 2002. A band for each year at 90 % is left by far more than
one country in ten in some year; dividing the error among ten years costs width. Here countries are
the units: how wide the band is in each year is learned from the decade before, and one factor is
calibrated, so that all ten years are covered together, as often as an exact law says.

Needs statsmodels, the extra `docs`.

    python examples/fertility_bands.py [folder for the picture]
"""

import sys

import numpy as np

try:
    from statsmodels.datasets import fertility
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[docs]"') from None

import probinf.conformal as pc

START, YEARS, ALPHA, CALIBRATION, DIVISIONS = 2002, 10, 0.1, 99, 300
REGIONS = (  # sums over countries, which are no countries
    "ARB CEB CSS EAP EAS ECA ECS EMU EUU FCS HIC HPC LAC LCN LDC LIC LMC "
    "LMY MEA MIC MNA NAC NOC OEC OED OSS PSS SAS SSA SSF SST UMC WLD"
)


def table():
    """Names (n,) of countries and their rates (n, years) from 1982 to 2011."""
    data = fertility.load_pandas().data
    rates = data[[str(year) for year in range(START - 2 * YEARS, START + YEARS)]].astype(float)
    kept = rates.notna().all(axis=1) & ~data["Country Code"].isin(REGIONS.split())
    return data["Country Name"][kept].to_numpy(), rates[kept].to_numpy()


def forecast(past):
    """Logarithms of the rates (n, 10) of ten years, from those of the ten years before.

    The trend of the last five years goes on and fades by a tenth every year.
    """
    slope = (past[:, -1] - past[:, -6]) / 5
    return past[:, -1:] + slope[:, None] * np.cumsum(0.9 ** np.arange(1, YEARS + 1))


def draw(names, rates, band, test, folder):
    """Bands of four countries that were not used, and what came."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(8, 2.8), sharex=True, layout="constrained")
    years = np.arange(START - 2 * YEARS, START + YEARS)
    for axis, k in zip(axes, np.linspace(0, len(test) - 1, 4).astype(int), strict=True):
        axis.fill_between(
            years[-YEARS:], np.exp(band.lower[k]), np.exp(band.upper[k]), alpha=0.3, label="band"
        )
        axis.plot(years, rates[test[k]], "k", lw=0.9)
        axis.set_title(names[test[k]], fontsize=9)
    axes[0].set_ylabel("children per woman")
    axes[0].legend(frameon=False)
    figure.savefig(f"{folder}/fertility_bands.png")


def main(folder=None, key=0):
    """Forecast two decades, divide the countries many times, count, draw."""
    names, rates = table()
    log = np.log(rates)
    first, second = forecast(log[:, :YEARS]), forecast(log[:, YEARS : 2 * YEARS])
    errors, truth = log[:, YEARS : 2 * YEARS] - first, log[:, 2 * YEARS :]
    found = []
    for seed in range(DIVISIONS):
        order = np.random.default_rng(1000 * key + seed).permutation(len(names))
        cal, test = order[:CALIBRATION], np.sort(order[CALIBRATION:])
        given = second[cal], truth[cal], second[test]
        bands = {
            "all years together": pc.regression.trajectories(
                *given, alpha=ALPHA, residuals_fit=errors
            ),
            "each year alone": every_year(*given, ALPHA),
            "a tenth of the error each": every_year(*given, ALPHA / YEARS),
        }
        inside = [band.contains(truth[test]).mean() for band in bands.values()]
        width = [np.mean(band.upper - band.lower) for band in bands.values()]
        found.append([inside, width])
        if seed == 0 and folder:
            draw(names, rates, bands["all years together"], test, folder)
    covered, width = np.mean(found, axis=0)
    print(f"{len(names)} countries, {CALIBRATION} of them calibrate; {DIVISIONS} divisions")
    for name, share, size in zip(bands, covered, width, strict=True):
        print(f"{name:26} holds {share:.3f} of the others for ten years, log width {size:.3f}")

    # a division is a random one: coverage has a known mean whatever the countries are
    law = np.ceil((1 - ALPHA) * (CALIBRATION + 1)) / (CALIBRATION + 1)
    error = np.std(found, axis=0)[0] / np.sqrt(DIVISIONS)
    assert abs(covered[0] - law) < 4 * error[0], (covered[0], law)
    assert covered[1] < 1 - 1.5 * ALPHA
    assert covered[2] > covered[0] and width[2] > 1.1 * width[0]
    print("all checks passed")


def every_year(pred_cal, y_cal, pred_test, alpha):
    """A box of intervals, each of them calibrated for its own year."""
    ends = [
        pc.split(pc.Absolute(), pred_cal[:, j], y_cal[:, j], pred_test[:, j], alpha=alpha)
        for j in range(YEARS)
    ]
    lower, upper = (np.stack([getattr(e, side) for e in ends], 1) for side in ("lower", "upper"))
    return pc.regression.Box(lower, upper, alpha, "each year by itself")


if __name__ == "__main__":
    main(*sys.argv[1:2])
