"""Texts of language models: potentials, constraints, moves, answers, and how many tries to take."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.fronts.tokens.constraint import Automaton as Automaton
    from probinf.fronts.tokens.constraint import automaton as automaton
    from probinf.fronts.tokens.constraint import one_of as one_of
    from probinf.fronts.tokens.constraint import without as without
    from probinf.fronts.tokens.context import Context as Context
    from probinf.fronts.tokens.reward import Reward as Reward
    from probinf.fronts.tokens.reward import reward as reward
    from probinf.tokens.answers import Answers as Answers
    from probinf.tokens.answers import best_of_n as best_of_n
    from probinf.tokens.answers import horvitz_thompson as horvitz_thompson
    from probinf.tokens.answers import internal_probability as internal_probability
    from probinf.tokens.answers import self_consistency as self_consistency
    from probinf.tokens.answers import weighted_best_of_n as weighted_best_of_n
    from probinf.tokens.gibbs import conditional_filter as conditional_filter
    from probinf.tokens.gibbs import particle_gibbs as particle_gibbs
    from probinf.tokens.tails import TextChains as TextChains
    from probinf.tokens.tails import tail_metropolis as tail_metropolis

_WHERE = {
    "Answers": "probinf.tokens.answers",
    "automaton": "probinf.fronts.tokens.constraint",
    "Automaton": "probinf.fronts.tokens.constraint",
    "best_of_n": "probinf.tokens.answers",
    "conditional_filter": "probinf.tokens.gibbs",
    "Context": "probinf.fronts.tokens.context",
    "horvitz_thompson": "probinf.tokens.answers",
    "internal_probability": "probinf.tokens.answers",
    "one_of": "probinf.fronts.tokens.constraint",
    "particle_gibbs": "probinf.tokens.gibbs",
    "reward": "probinf.fronts.tokens.reward",
    "Reward": "probinf.fronts.tokens.reward",
    "self_consistency": "probinf.tokens.answers",
    "tail_metropolis": "probinf.tokens.tails",
    "TextChains": "probinf.tokens.tails",
    "weighted_best_of_n": "probinf.tokens.answers",
    "without": "probinf.fronts.tokens.constraint",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
