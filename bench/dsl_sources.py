"""Where surrogate labels come from: four simulators, and four tables with trained annotators.

Every source draws independent rows, so that the large-sample fit is what intervals should cover: of
a simulator, that of many rows; of a table, from which rows are drawn with replacement, its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.datasets import anes96, fair, randhie

from probinf import ppi


class Source(NamedTuple):
    """A population.

    Attributes:
        draw: rows and a seed to `ppi.Labels`.
        large: rows of the fit that counts as the truth.
    """

    draw: Callable[[int, int], ppi.Labels]
    large: int | None


def flips(rows: int, seed: int) -> ppi.Labels:
    """Surrogates that are wrong at random, one in ten."""
    return ppi.dsl_sim(rows, 0.9, key=seed)


def leaning(rows: int, seed: int) -> ppi.Labels:
    """Surrogates that are wrong where a regressor is large, and mostly in one direction."""
    data = ppi.dsl_sim(rows, 0.9, key=seed)
    uniform = np.random.default_rng([seed, 1]).uniform(size=rows)
    f = np.where(uniform < 0.3 * expit(2 * data.x[:, 1]), 1.0, data.y)
    return data._replace(f=f, features=np.column_stack([data.features[:, :-1], f]))


def alike(rows: int, seed: int) -> ppi.Labels:
    """Two regressors with a correlation of 0.98."""
    data = ppi.dsl_sim(rows, 0.9, key=seed)
    x = data.x.copy()
    noise = 0.1 * np.random.default_rng([seed, 2]).normal(size=rows)
    x[:, 1], x[:, 2] = data.x[:, 1] + noise, data.x[:, 1] - noise
    return data._replace(x=x)


def rare(rows: int, seed: int) -> ppi.Labels:
    """One positive label in twelve, and surrogates that find two of three and invent some."""
    rng = np.random.default_rng([seed, 3])
    z = rng.normal(size=(rows, 6))
    y = (rng.uniform(size=rows) < expit(-3.2 + z[:, :4] @ [1.0, -0.5, 0.5, 0.3] + z[:, 4])) * 1.0
    f = (rng.uniform(size=rows) < np.where(y == 1, 0.67, 0.03)) * 1.0
    x = np.column_stack([np.ones(rows), z[:, :4]])
    return ppi.Labels(x, y, f, np.column_stack([z, f]))


@lru_cache
def _table(name: str) -> ppi.Labels:
    """A table without the tenth of it that its annotator was trained on."""
    rng = np.random.default_rng(0)
    model = HistGradientBoostingClassifier(max_depth=3, random_state=0)
    if name == "digits":
        pixels, digit = load_digits(return_X_y=True)
        image, y = pixels.reshape(-1, 8, 8), (digit >= 5) * 1.0
        parts = [image[:, :4, :4], image[:, :4, 4:], image[:, 4:, :4], image[:, 4:, 4:]]
        x = np.column_stack([part.mean(axis=(1, 2)) for part in parts])
        seen, model = pixels, make_pipeline(StandardScaler(), LogisticRegression(C=0.01))
    else:
        loader, outcome, columns = {
            "affairs": (fair, "affairs", ["rate_marriage", "age", "yrs_married", "religious"]),
            "visits": (randhie, "mdvis", ["lncoins", "disea", "physlm", "hlthf"]),
            "votes": (anes96, "vote", ["selfLR", "PID", "age", "educ"]),
        }[name]
        frame = loader.load_pandas().data
        y = (frame.pop(outcome) > 0).to_numpy() * 1.0
        x, seen = frame[columns].to_numpy(float), frame.to_numpy(float)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    trained = rng.permutation(len(y)) < len(y) // 10
    f = model.fit(seen[trained], y[trained]).predict(seen[~trained]) * 1.0
    x = np.column_stack([np.ones(len(x)), x])[~trained]
    return ppi.Labels(x, y[~trained], f, np.column_stack([x[:, 1:], f]))


def from_table(name: str) -> Source:
    """Rows of a table, drawn with replacement."""

    def draw(rows: int, seed: int) -> ppi.Labels:
        table = _table(name)
        if seed < 0:
            return table
        chosen = np.random.default_rng([seed, 4]).integers(len(table.y), size=rows)
        return ppi.Labels(*(column[chosen] for column in table))

    return Source(draw, None)


SOURCES = {
    "random flips": Source(flips, 1_000_000),
    "leaning flips": Source(leaning, 1_000_000),
    "regressors alike": Source(alike, 1_000_000),
    "rare label": Source(rare, 1_000_000),
    **{name: from_table(name) for name in ("affairs", "visits", "votes", "digits")},
}
