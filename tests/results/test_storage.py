"""Saved posteriors: bit for bit, readable by ArviZ, refused when damaged; never a pickle."""

from __future__ import annotations

import contextlib
import json

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray

import probinf as pi
from probinf.errors import SavedFileError, StructureError
from probinf.runtime.archive import write_manifest


def model(y=None):
    with numpyro.handlers.scope(prefix="group"):
        mean = numpyro.sample("mean", dist.Normal(0.0, 2.0))
    scales = numpyro.sample("scales", dist.HalfNormal(1.0).expand([2]).to_event(1))
    numpyro.deterministic("total", mean + scales.sum())
    numpyro.sample("y", dist.Normal(mean, scales[0]), obs=y)


Y = np.array([0.3, 1.1, 0.7, -0.2])


def distance(a, b):
    return abs(a - b)


def simulator(key, rate):
    return rate + jax.random.normal(key)


@pytest.fixture(scope="module")
def posteriors() -> dict[str, pi.Posterior]:
    program = pi.from_numpyro(model, y=Y)
    blurred = pi.from_simulator(dist.Normal(0.0, 1.0), simulator, distance, 0.5, tolerance=0.5)
    return {
        "nuts": pi.sample(program, pi.NUTS(chains=2, warmup=100, draws=50), key=0, progress=False),
        "smc": pi.sample(program, pi.SMC(particles=60, islands=2), key=0, progress=False),
        "abc": pi.sample(blurred, pi.Importance(draws=200), key=0, progress=False),
    }


@pytest.mark.parametrize("name", ["nuts", "smc", "abc"])
def test_round_trip_is_bitwise(posteriors, name, tmp_path):
    posterior = posteriors[name]
    posterior.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit", program=posterior.program)
    assert list(again.draws) == list(posterior.draws)
    for field in ("draws", "stats", "history"):
        first, second = getattr(posterior, field), getattr(again, field)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
            assert np.asarray(first[key]).dtype == second[key].dtype
    np.testing.assert_array_equal(posterior.log_weights, again.log_weights)
    np.testing.assert_array_equal(posterior.unconstrained, again.unconstrained)
    assert len(posterior.keys) == len(again.keys)
    for first, second in zip(posterior.keys, again.keys, strict=True):
        np.testing.assert_array_equal(first, second)
    assert again.evidence == posterior.evidence
    assert again.no_evidence == posterior.no_evidence
    assert str(again.summary()) == str(posterior.summary())
    one, two = posterior.predict(key=3), again.predict(key=3)
    for key in one:
        np.testing.assert_array_equal(one[key], two[key])
    posterior.save(tmp_path / "fit")  # writing again over a saved posterior is allowed


def test_a_posterior_without_its_program_says_so(posteriors, tmp_path):
    posteriors["nuts"].save(tmp_path / "fit")
    with pytest.raises(StructureError, match="program="):
        pi.load(tmp_path / "fit").predict(key=0)


def variant(location=2.0, prior=dist.HalfNormal(1.0), noise=1.0):
    """The model of this file with another prior or likelihood."""

    def changed(y=None):
        with numpyro.handlers.scope(prefix="group"):
            mean = numpyro.sample("mean", dist.Normal(0.0, location))
        scales = numpyro.sample("scales", prior.expand([2]).to_event(1))
        numpyro.deterministic("total", mean + scales.sum())
        numpyro.sample("y", dist.Normal(mean, noise * scales[0]), obs=y)

    return changed


def other_names(y=None):
    scales = numpyro.sample("scales", dist.HalfNormal(1.0).expand([2]).to_event(1))
    numpyro.sample("y", dist.Normal(0.0, scales[0]), obs=y)


@pytest.mark.parametrize(
    ("other", "data", "said"),
    [
        (variant(noise=0.1), Y, "the likelihood of this program is not the one"),
        (model, Y + 0.2, "the likelihood of this program is not the one"),
        (variant(location=20.0), Y, "the prior of this program is not the one"),
        (variant(prior=dist.Uniform(0.0, 50.0)), Y, "its site 'scales' has other values"),
        (other_names, Y, r"'group/mean': None"),
    ],
)
@pytest.mark.filterwarnings("ignore:the model .* is made anew")
def test_another_program_is_not_loaded(posteriors, other, data, said, tmp_path):
    posteriors["nuts"].save(tmp_path / "fit")
    with pytest.raises(StructureError, match=said):
        pi.load(tmp_path / "fit", program=pi.from_numpyro(other, y=data))
    pi.load(tmp_path / "fit", program=pi.from_numpyro(model, y=Y))


def test_damaged_files_are_refused(posteriors, tmp_path):
    posteriors["nuts"].save(tmp_path / "fit")
    arrays, manifest = tmp_path / "fit/arrays.safetensors", tmp_path / "fit/manifest.json"
    whole, text = arrays.read_bytes(), manifest.read_text()

    arrays.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SavedFileError, match="truncated"):
        pi.load(tmp_path / "fit")
    arrays.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SavedFileError, match="checksum"):
        pi.load(tmp_path / "fit")
    arrays.write_bytes(whole)
    manifest.write_text(json.dumps({**json.loads(text), "schema": 99}))
    with pytest.raises(SavedFileError, match="schema 99"):
        pi.load(tmp_path / "fit")
    record = json.loads(text)
    for name, value in (("evidence", [0.0, 0.1]), ("sites", ["scales"]), ("no_evidence", "")):
        manifest.write_text(json.dumps({**record, name: value}))
        with pytest.raises(SavedFileError, match=r"manifest\.json was edited"):
            pi.load(tmp_path / "fit")
    for damaged in (text[:50].encode(), b"", b"[]", b"\xff\xfe\x00"):
        manifest.write_bytes(damaged)
        with pytest.raises(SavedFileError, match="damaged"):
            pi.load(tmp_path / "fit")
    manifest.write_text(text)
    assert pi.load(tmp_path / "fit").draws.keys() == posteriors["nuts"].draws.keys()
    arrays.unlink()
    with pytest.raises(SavedFileError, match="missing"):
        pi.load(tmp_path / "fit")
    manifest.unlink()
    for folder in ("fit", "nowhere"):
        with pytest.raises(SavedFileError, match=r"manifest\.json is missing"):
            pi.load(tmp_path / folder)


def test_the_backend_of_the_file_is_named(posteriors, tmp_path, monkeypatch):
    """Releases of xarray choose another by themselves, one of them without groups."""
    asked = []
    monkeypatch.setattr(
        xarray.DataTree, "to_netcdf", lambda *args, **options: asked.append(options)
    )
    with contextlib.suppress(FileNotFoundError):  # nothing was written
        posteriors["nuts"].save(tmp_path / "fit")
    assert asked == [{"engine": "h5netcdf"}]


def test_nothing_is_pickled(posteriors, tmp_path, monkeypatch):
    import pickle

    def refuse(*args, **kwargs):
        raise AssertionError("pickle was used")

    for name in ("dump", "dumps", "load", "loads"):
        monkeypatch.setattr(pickle, name, refuse)
    monkeypatch.setattr(np.lib.format, "pickle", None, raising=False)
    posteriors["abc"].save(tmp_path / "fit")
    pi.load(tmp_path / "fit")
    assert sorted(f.name for f in (tmp_path / "fit").iterdir()) == [
        "arrays.safetensors",
        "manifest.json",
        "posterior.nc",
    ]


def flat(y):
    mean = numpyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    numpyro.sample("y", dist.Normal(mean, 1.0), obs=y)


def test_a_fit_under_an_improper_prior_can_be_kept_and_predicts(tmp_path):
    program = pi.from_numpyro(flat, Y)
    method = pi.MCMC(pi.kernels.RandomWalk(), chains=2, warmup=100, draws=300)
    posterior = pi.sample(program, method, key=0, progress=False)
    posterior.save(tmp_path / "fit")
    again = pi.load(tmp_path / "fit", program=program)
    np.testing.assert_array_equal(again.draws["mean"], posterior.draws["mean"])
    np.testing.assert_allclose(posterior.to_datatree()["observed_data"]["y"], Y, rtol=1e-6)
    assert again.predict(key=1)["y"].shape == (2, 300, 4)


def test_another_folder_is_not_overwritten(posteriors, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SavedFileError, match="something else"):
        posteriors["nuts"].save(tmp_path)


@pytest.mark.parametrize("name", ["nuts", "smc"])
def test_the_saved_file_opens_in_arviz(posteriors, name, tmp_path):
    import arviz
    import xarray

    posterior = posteriors[name]
    posterior.save(tmp_path / "fit")
    with xarray.open_datatree(tmp_path / "fit/posterior.nc", engine="h5netcdf") as tree:
        data = arviz.from_datatree(tree) if hasattr(arviz, "from_datatree") else tree
        table = arviz.summary(data, var_names=["scales"])
        assert len(table) == 2
        assert bool(tree["posterior"].attrs["resampled"]) == posterior.weighted
        assert tree["posterior"]["group.mean"].shape == posterior.log_weights.shape
        if posterior.weighted:
            np.testing.assert_array_equal(
                tree["weighted_posterior"]["log_weight"], posterior.log_weights
            )
            assert tree["posterior"].attrs["log_evidence"] == posterior.log_evidence.value
        np.testing.assert_allclose(tree["observed_data"]["y"], Y, rtol=1e-6)


def as_schema_1(folder, schema=1):
    """A saved posterior as the version before kinds and findings wrote it."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    for name in ("kind", "findings", "manifest_sha256"):
        del manifest[name]
    del manifest["provenance"]["engine"]
    write_manifest(file, schema, {k: v for k, v in manifest.items() if k != "schema"})


@pytest.mark.parametrize(
    ("name", "kind", "codes"), [("nuts", "chains", set()), ("smc", "population", set())]
)
def test_a_posterior_of_the_version_before_loads(posteriors, name, kind, codes, tmp_path):
    posteriors[name].save(tmp_path / "fit")
    as_schema_1(tmp_path / "fit")
    again = pi.load(tmp_path / "fit")
    assert again.kind == kind and again.engine == posteriors[name].engine
    assert {f.code for f in again.findings} == codes
    np.testing.assert_array_equal(again.log_weights, posteriors[name].log_weights)


def test_what_the_version_before_did_not_keep_is_said(tmp_path):
    program = pi.from_log_likelihood(steep, dist.Normal(0.0, 1.0))
    found = pi.sample(program, pi.Importance(draws=500), key=0, progress=False)
    found.save(tmp_path / "fit")
    assert pi.load(tmp_path / "fit").diagnose().codes == found.diagnose().codes
    as_schema_1(tmp_path / "fit")
    again = pi.load(tmp_path / "fit")
    assert again.kind == "weighted" and "older_version" in again.diagnose().codes
    manifest = tmp_path / "fit/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema": 1', '"schema": 3'))
    with pytest.raises(SavedFileError, match=r"schema 3.*reads 1 and 2.*Read it with that version"):
        pi.load(tmp_path / "fit")


def steep(x):
    return 20.0 * x
