"""Affairs: a logistic regression when most answers are guesses of a model.

Of 6,366 women asked by a magazine in 1974 (Fair, 1978; bundled with statsmodels), suppose that only
300 were asked whether they had had an affair, and that a model trained elsewhere guesses the
others' answers. Guesses taken for answers give confident and wrong coefficients; prediction-powered
inference corrects them by the answers that are known. All answers are known in truth, so that
coverage is counted.

Needs scikit-learn and statsmodels, the extra `docs`.

    python examples/affairs_few_answers.py [folder for the picture]
"""

import sys

import numpy as np

try:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from statsmodels.datasets import fair
except ImportError as missing:
    raise SystemExit(f'{missing}; this script needs: pip install "probinf[docs]"') from None

from probinf import ppi

ANSWERS, TRAIN, REPEATS = 300, 1000, 40
NAMES = ["const", "rate_marriage", "religious", "yrs_married"]


def draw(found, truth, folder):
    """Intervals of twenty repetitions for one coefficient."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(8, 3.2), sharex=True, layout="constrained")
    for axis, (name, rows) in zip(axes, found.items(), strict=True):
        for k, (low, high) in enumerate(rows[:20, 1]):
            color = "C0" if low <= truth[1] <= high else "C3"
            axis.plot([low, high], [k, k], color=color)
        axis.axvline(truth[1], color="k", lw=0.8)
        axis.set(title=name, yticks=[])
    axes[1].set_xlabel("log odds of an affair, for a better-rated marriage")
    figure.savefig(f"{folder}/affairs_few_answers.png")


def main(folder=None, key=0):
    """Train, repeat, compare, draw."""
    table = fair.load_pandas().data
    answer = (table["affairs"] > 0).to_numpy(float)
    columns = table.drop(columns="affairs")
    scaled = (columns - columns.mean()) / columns.std()
    x = scaled.assign(const=1.0)[NAMES].to_numpy()
    order = np.random.default_rng(key).permutation(len(answer))
    elsewhere, rest = order[:TRAIN], order[TRAIN:]
    # the model was trained on the happily married, and guesses too few affairs
    happy = elsewhere[columns["rate_marriage"].to_numpy()[elsewhere] >= 3]
    model = HistGradientBoostingClassifier(max_iter=60, max_depth=3, random_state=0)
    guess = model.fit(columns.iloc[happy], answer[happy]).predict_proba(columns)[:, 1]
    all_known = dict(tune=1.0, method="classical")
    truth = ppi.logistic(x[rest], answer[rest], guess[rest], x[:2], guess[:2], **all_known).theta
    naive = ppi.logistic(x[rest], guess[rest], guess[rest], x[:2], guess[:2], **all_known)

    found = {"answers alone": [], "with guesses": []}
    for k in range(REPEATS):
        shuffled = np.random.default_rng(1000 + key + k).permutation(rest)
        a, b = shuffled[:ANSWERS], shuffled[ANSWERS:]
        for name, options in {
            "answers alone": {"method": "classical"},
            "with guesses": {"tune": "element"},
        }.items():
            fit = ppi.logistic(x[a], answer[a], guess[a], x[b], guess[b], **options)
            found[name].append(fit.conf_int())
    found = {"guesses alone": np.array([naive.conf_int()] * REPEATS)} | {
        name: np.array(rows) for name, rows in found.items()
    }
    print("coefficients with all answers:", dict(zip(NAMES, truth.round(3).tolist(), strict=True)))
    covered, width = {}, {}
    for name, rows in found.items():
        inside = (rows[..., 0] <= truth) & (truth <= rows[..., 1])
        covered[name], width[name] = inside.mean(0), np.diff(rows, axis=-1).mean((0, 2))
        print(f"{name:14} cover {covered[name].round(2)}, width {width[name].round(2)}")
    if folder:
        draw(found, truth, folder)

    # 40 repetitions that share rows: .9 with a standard error of about .05
    assert covered["with guesses"].min() > 0.7 and covered["with guesses"].mean() > 0.8
    assert covered["guesses alone"].mean() < 0.8
    assert (width["with guesses"] < 1.02 * width["answers alone"]).all()
    print("all checks passed")


if __name__ == "__main__":
    main(*sys.argv[1:2])
