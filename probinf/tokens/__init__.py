"""Texts of language models: potentials, constraints, moves, answers, and how many tries to take."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from probinf.core.lazy import on_first_use as _on_first_use

if _TYPE_CHECKING:
    from probinf.fronts.tokens.constraint import Automaton as Automaton
    from probinf.fronts.tokens.constraint import automaton as automaton
    from probinf.fronts.tokens.constraint import one_of as one_of
    from probinf.fronts.tokens.constraint import spelled as spelled
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
    from probinf.tokens.best_first import most_probable as most_probable
    from probinf.tokens.branching import Branches as Branches
    from probinf.tokens.branching import branching_filter as branching_filter
    from probinf.tokens.covered import Coverage as Coverage
    from probinf.tokens.covered import coverage as coverage
    from probinf.tokens.enough import Calibrated as Calibrated
    from probinf.tokens.enough import Scale as Scale
    from probinf.tokens.enough import calibrate_optscale as calibrate_optscale
    from probinf.tokens.enough import optscale as optscale
    from probinf.tokens.gibbs import conditional_filter as conditional_filter
    from probinf.tokens.gibbs import particle_gibbs as particle_gibbs
    from probinf.tokens.lookahead import with_lookahead as with_lookahead
    from probinf.tokens.markov import MarkovChain as MarkovChain
    from probinf.tokens.markov import markov_chain as markov_chain
    from probinf.tokens.scalable import scalable_power as scalable_power
    from probinf.tokens.searching import MostProbable as MostProbable
    from probinf.tokens.tails import TextChains as TextChains
    from probinf.tokens.tails import tail_metropolis as tail_metropolis
    from probinf.tokens.tries import Ceiling as Ceiling
    from probinf.tokens.tries import Optimum as Optimum
    from probinf.tokens.tries import enough_votes as enough_votes
    from probinf.tokens.tries import optimal_tries as optimal_tries
    from probinf.tokens.tries import resampling_ceiling as resampling_ceiling

_WHERE = {
    "Answers": "probinf.tokens.answers",
    "Automaton": "probinf.fronts.tokens.constraint",
    "automaton": "probinf.fronts.tokens.constraint",
    "best_of_n": "probinf.tokens.answers",
    "Branches": "probinf.tokens.branching",
    "branching_filter": "probinf.tokens.branching",
    "calibrate_optscale": "probinf.tokens.enough",
    "Calibrated": "probinf.tokens.enough",
    "Ceiling": "probinf.tokens.tries",
    "conditional_filter": "probinf.tokens.gibbs",
    "Context": "probinf.fronts.tokens.context",
    "Coverage": "probinf.tokens.covered",
    "coverage": "probinf.tokens.covered",
    "enough_votes": "probinf.tokens.tries",
    "horvitz_thompson": "probinf.tokens.answers",
    "internal_probability": "probinf.tokens.answers",
    "markov_chain": "probinf.tokens.markov",
    "MarkovChain": "probinf.tokens.markov",
    "most_probable": "probinf.tokens.best_first",
    "MostProbable": "probinf.tokens.searching",
    "one_of": "probinf.fronts.tokens.constraint",
    "optimal_tries": "probinf.tokens.tries",
    "Optimum": "probinf.tokens.tries",
    "optscale": "probinf.tokens.enough",
    "particle_gibbs": "probinf.tokens.gibbs",
    "resampling_ceiling": "probinf.tokens.tries",
    "Reward": "probinf.fronts.tokens.reward",
    "reward": "probinf.fronts.tokens.reward",
    "scalable_power": "probinf.tokens.scalable",
    "Scale": "probinf.tokens.enough",
    "self_consistency": "probinf.tokens.answers",
    "tail_metropolis": "probinf.tokens.tails",
    "TextChains": "probinf.tokens.tails",
    "weighted_best_of_n": "probinf.tokens.answers",
    "with_lookahead": "probinf.tokens.lookahead",
    "spelled": "probinf.fronts.tokens.constraint",
    "without": "probinf.fronts.tokens.constraint",
}

__getattr__, __dir__ = _on_first_use(__name__, _WHERE)
