"""Conformal sets from posteriors, whoever made them."""

from probinf.conformal.posteriors.amortized import PosteriorRegion as PosteriorRegion
from probinf.conformal.posteriors.amortized import calibrate_posterior as calibrate_posterior
from probinf.conformal.posteriors.amortized import hpd_scores as hpd_scores
from probinf.conformal.posteriors.amortized import waldo_scores as waldo_scores
from probinf.conformal.posteriors.bayes import BayesSet as BayesSet
from probinf.conformal.posteriors.bayes import bayes as bayes
from probinf.conformal.posteriors.bayes import bayes_arrays as bayes_arrays
from probinf.conformal.posteriors.predictive import predict_density as predict_density
