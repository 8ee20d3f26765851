"""Candidates' answers voted on by biased judges: the docs page's model, and its data."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

GOOD = np.array([0.35, 0.5, 0.6, 0.75, 0.85])  # shares of good answers, by candidate
SAYS_GOOD = np.array([[0.35, 0.15, 0.45], [0.9, 0.7, 0.95]])  # of bad and of good answers


def judged(votes):
    """Two levels; votes by answer, judge and candidate."""
    answers, judges, candidates = votes.shape
    good = numpyro.sample("good", dist.Beta(1, 1).expand([candidates]).to_event(1))
    prior = dist.Beta(jnp.array([[2.0], [4.0]]), jnp.array([[4.0], [2.0]]))
    says = numpyro.sample("says", prior.expand([2, judges]).to_event(2))
    with (
        numpyro.plate("candidates", candidates, dim=-1),
        numpyro.plate("answers", answers, dim=-3),
    ):
        truth = numpyro.sample("truth", dist.Bernoulli(good))
        with numpyro.plate("judges", judges, dim=-2):
            law = says[truth, jnp.arange(judges)[:, None]]
            numpyro.sample("vote", dist.Bernoulli(law), obs=votes)


def votes(rng: np.random.Generator, answers: int) -> np.ndarray:
    """Votes drawn from the model."""
    truth = (rng.random((answers, 1, GOOD.size)) < GOOD).astype(int)
    law = SAYS_GOOD[truth, np.arange(SAYS_GOOD.shape[1])[:, None]]
    return (rng.random(law.shape) < law).astype(int)


def majority_interval(votes: np.ndarray, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """The textbook interval of the share of answers that most judges call good."""
    most = votes.mean(1) > 0.5
    mean = most.mean(0)
    half = z * np.sqrt(mean * (1 - mean) / len(most))
    return mean - half, mean + half
