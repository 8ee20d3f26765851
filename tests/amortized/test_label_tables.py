"""Networks of labels for tables as they come: any classes, gaps, categories, orders of columns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("sklearn")
pd = pytest.importorskip("pandas")

from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from probinf.amortized import PFN, Categorical, FittedPFN, GaussianProcess, Ranges, Tables
from probinf.amortized.estimators import PFNClassifier
from probinf.amortized.estimators import columns as columns_file
from probinf.amortized.estimators.columns import Columns
from probinf.amortized.pfn import encoding, fits
from probinf.amortized.pfn import table_network as table_file
from probinf.errors import ArrayError, MethodError, RangeError, TrainingError

WINE, CULTIVAR = load_wine(return_X_y=True)
ORDER = np.random.default_rng(0).permutation(178)
SEEN, REST = ORDER[:32], ORDER[32:64]


@pytest.fixture(scope="module")
def network() -> FittedPFN:
    """Never trained, its weights shaken so that every part speaks."""
    prior = Tables(12, 4)
    config = PFN(head=Categorical(4), context=32, smallest=4, width=8, fits=True)._config(prior)
    leaves, form = jax.tree.flatten(FittedPFN.skeleton(config))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [v + 0.3 * jax.random.normal(k, v.shape) for v, k in zip(leaves, keys, strict=True)]
    limits = Ranges({"context rows": (4.0, 32.0), "columns": (1.0, 12.0)})
    return FittedPFN(jax.tree.unflatten(form, noisy), config, limits, {})


def frame(numbers, words) -> pd.DataFrame:
    return pd.DataFrame(numbers).add_prefix("x").assign(kind=pd.Categorical(words))


def asked(network, X, y=CULTIVAR, **options) -> np.ndarray:
    rows = (lambda k: X.iloc[k]) if hasattr(X, "iloc") else (lambda k: X[k])
    model = PFNClassifier(network, out_of_range="raise", **options)
    return model.fit(rows(SEEN), y[SEEN]).predict_proba(rows(REST))


def test_orders_names_and_empty_columns_do_not_matter(network) -> None:
    X = WINE[:, :8]
    p = asked(network, X)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    turned = np.random.default_rng(1).permutation(8)
    np.testing.assert_allclose(asked(network, X[:, turned]), p, atol=2e-3)
    np.testing.assert_allclose(asked(network, X * 7 - 3), p, atol=2e-3)
    names = np.array(["c", "a", "b"])[CULTIVAR]  # sorted: 1, 2, 0
    np.testing.assert_allclose(asked(network, X, names), p[:, [1, 2, 0]], atol=2e-3)
    empty = np.insert(X, 3, np.nan, axis=1)
    np.testing.assert_allclose(asked(network, empty), p, atol=2e-3)
    assert np.abs(p - asked(network, X[:, 3:])).max() > 0.02  # columns do matter


def test_categories_go_by_no_name_and_gaps_are_read(network) -> None:
    numbers, words = WINE[:, :5], np.array(["red", "white", "red", "sand"])[ORDER.argsort() % 4]
    p = asked(network, frame(numbers, words))
    codes = np.select([words == "red", words == "sand"], [9.0, 2.0], 5.0)
    table = np.column_stack([numbers, codes])
    np.testing.assert_allclose(asked(network, table, categorical=[5]), p, atol=2e-3)
    np.testing.assert_allclose(
        asked(network, frame(numbers, words), categorical=["kind"]), p, atol=2e-3
    )
    as_numbers = asked(network, table)  # the mutant: a code taken for a quantity
    assert np.abs(as_numbers - p).max() > 0.01
    gaps = numbers.copy()
    gaps[CULTIVAR == 1, 0] = np.nan  # missing says it all
    found = asked(network, gaps)
    assert np.isfinite(found).all() and np.abs(found - asked(network, numbers)).max() > 0.02


def left_out(factor: float = 1.0, rows: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of each row by all others: ours, exact, and those that count the row itself."""
    x = (WINE - WINE.mean(0)) / WINE.std(0)
    x, y = x[SEEN[:rows]], CULTIVAR[SEEN[:rows]]
    kernel = jnp.asarray(factor * x @ x.T / 13)
    found = fits.fit(
        kernel, kernel, jnp.diag(kernel), jax.nn.one_hot(y, 3), jnp.zeros(3), jnp.ones(rows, bool)
    )

    def model(k):
        options = {"C": factor / 13, "fit_intercept": False, "tol": 1e-8, "max_iter": 2000}
        return LogisticRegression(**options).fit(x[k], y[k])

    every = np.arange(rows)
    exact = np.stack([model(every != i).decision_function(x[[i]])[0] for i in range(rows)])
    own = model(every).decision_function(x)
    np.testing.assert_allclose(centred(found.queries), centred(own), atol=0.02)
    return centred(found.context), centred(exact), centred(own)


def centred(logits) -> np.ndarray:
    return np.asarray(logits - np.mean(logits, axis=1, keepdims=True))


def test_regressions_are_penalised_ones_and_leave_rows_out() -> None:
    ours, exact, own = left_out()
    error = np.sqrt(np.mean((ours - exact) ** 2))
    # the mutant: rows that have seen their own label
    assert error < 0.2 * np.sqrt(np.mean((own - exact) ** 2))


def test_hidden_rows_and_classes_change_nothing() -> None:
    rng = np.random.default_rng(2)
    x, y = jnp.asarray(rng.normal(size=(12, 3))), jax.nn.one_hot(np.arange(12) % 2, 3)
    mask = jnp.arange(12) < 9
    offset = jnp.array([0.0, 0.2, table_file.ABSENT])
    kernel = x @ x.T
    one = fits.fit(kernel, kernel[:4], jnp.diag(kernel)[:4], y * mask[:, None], offset, mask)
    few = kernel[:9, :9]
    two = fits.fit(few, few[:4], jnp.diag(few)[:4], y[:9], offset, mask[:9])
    np.testing.assert_allclose(one.queries, two.queries, atol=1e-4)
    np.testing.assert_allclose(one.context[:9], two.context, atol=1e-4)
    assert float(jnp.abs(one.queries[:, 2]).max()) == 0


def encodes_an_empty_column_as_none() -> None:
    x = jnp.asarray(WINE[:10, :3]).at[2, 1].set(jnp.nan)
    more = jnp.concatenate([x, jnp.full((10, 1), jnp.nan)], 1)
    mask = jnp.arange(10) < 8
    for short, long in zip(encoding.encoded(x, mask, x), encoding.encoded(more, mask, more),
                           strict=True):  # fmt: skip
        np.testing.assert_allclose(short @ short.T, long @ long.T, rtol=1e-4, atol=1e-4)
    one = encoding.encoded(x, mask, x)[0]
    assert float(jnp.abs(one[2, 1])) == 0 and float(jnp.abs(one[8:]).max()) == 0


def test_an_empty_column_is_no_column(monkeypatch: pytest.MonkeyPatch) -> None:
    encodes_an_empty_column_as_none()
    # the mutant: a mark that is not centred
    monkeypatch.setattr(encoding, "_scaled", lambda x, mask, new: (jnp.nan_to_num(x),) * 2)
    with pytest.raises(AssertionError):
        encodes_an_empty_column_as_none()


def test_levels_of_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    words = np.array(["a"] * 5 + ["b"] * 4 + ["c"] + [None] * 3, dtype=object)
    found = Columns.learn(words[:, None], [0])
    assert found.levels == (("a", "b", None),)
    assert found.numbers(words[:, None]).sum(0).tolist() == [5, 4, 3]
    assert found.numbers(np.array([["never"], [np.nan]], object)).tolist() == [[0] * 3, [0, 0, 1]]
    both = np.array([["x"], ["y"]] * 4, object)
    assert Columns.learn(both, [0]).numbers(both).shape == (8, 1)
    flags = Columns.learn(pd.DataFrame({"n": [1.0, 2], "b": [True, False]}), None)
    assert flags.levels[0] is None and flags.levels[1] is not None
    monkeypatch.setattr(columns_file, "_RARE", 1)  # the mutant: a column for each word
    assert Columns.learn(words[:, None], [0]).levels != found.levels


def test_what_does_not_fit_is_named(network) -> None:
    X = WINE[:, :4]
    with pytest.raises(MethodError, match="knows 4 classes, the data have 5"):
        PFNClassifier(network).fit(X, np.arange(178) % 5)
    with pytest.raises(ArrayError, match="column 1 holds 'red', which is no number"):
        PFNClassifier(network).fit(np.array([[1, "red"], [2, "red"]] * 5, object), [0, 1] * 5)
    with pytest.raises(ArrayError, match="there is no column 'hue'"):
        PFNClassifier(network, categorical=["hue"]).fit(X, CULTIVAR)
    with pytest.raises(ArrayError, match="a mask needs one entry for each of 4"):
        PFNClassifier(network, categorical=[True]).fit(X, CULTIVAR)
    with pytest.raises(ArrayError, match="column 0 holds infinite"):
        PFNClassifier(network).fit(
            np.where(X.argmax(0) == np.arange(178)[:, None], np.inf, X), CULTIVAR
        )
    with pytest.raises(RangeError, match="columns is 13, trained on 1 to 12"):
        network.predict(WINE[:20], CULTIVAR[:20], WINE[:2])
    with pytest.raises(ArrayError, match="x_new has 3 columns, x has 4"):
        network.predict(X[:20], CULTIVAR[:20], X[:2, :3])
    with pytest.raises(ArrayError, match="nearest rows need columns without NaN"):
        network.predict(np.full((20, 2), np.nan), CULTIVAR[:20], X[:2, :2], nearest=5)
    with pytest.raises(ArrayError, match="train a network with PFN"):
        PFNClassifier("tabular").fit(np.where(X > 3, np.nan, X), CULTIVAR > 0)
    with pytest.raises(TrainingError, match="fits=True is for labels"):
        PFN(fits=True).fit(GaussianProcess(1), key=0, steps=1)
    for option in ({"layers": 2}, {"heads": 1}):
        with pytest.raises(TrainingError, match="leave them out and choose width"):
            PFN(fits=True, **option).fit(Tables(12, 3), key=0, steps=1)
    with pytest.raises(TrainingError, match="inputs must be at least 12"):
        Tables(4)


@pytest.mark.slow  # compiling the prior takes long
def test_tables_of_the_prior() -> None:
    prior = Tables(12, 6)
    keys = jax.random.split(jax.random.key(0), 400)
    draw = jax.jit(jax.vmap(lambda k: prior.draw(k, jnp.asarray(40), 40, 20)))(keys)
    counts = np.array([len(np.unique(y)) for y in draw.y])
    assert draw.x.shape == (400, 60, 12) and not np.isinf(draw.x).any()
    assert set(np.unique(draw.y)) == set(range(6)) and set(counts.tolist()) >= {2, 3, 4, 5, 6}
    gaps = np.isnan(draw.x).any((1, 2)).mean()
    assert 0.2 < gaps < 0.4
    shares = np.array([np.bincount(y, minlength=6) for y in draw.y]).mean(0) / 60
    np.testing.assert_allclose(shares, 1 / 6, atol=0.05)  # no name is favoured
