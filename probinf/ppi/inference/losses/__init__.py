"""Losses: a family is one function of the linear predictor and the outcome; all else is autodiff.

A *model* gives three things about rows (a pytree of arrays with the rows in front) at parameters
theta (d,): the scores, their weighted sum, and the derivative of that sum.
"""

from probinf.ppi.inference.losses.autodiff import Autodiff as Autodiff
from probinf.ppi.inference.losses.families import Binomial as Binomial
from probinf.ppi.inference.losses.families import Expectile as Expectile
from probinf.ppi.inference.losses.families import Gamma as Gamma
from probinf.ppi.inference.losses.families import Gaussian as Gaussian
from probinf.ppi.inference.losses.families import Huber as Huber
from probinf.ppi.inference.losses.families import NegativeBinomial as NegativeBinomial
from probinf.ppi.inference.losses.families import Poisson as Poisson
from probinf.ppi.inference.losses.families import family_of as family_of
from probinf.ppi.inference.losses.likelihoods import Multinomial as Multinomial
from probinf.ppi.inference.losses.likelihoods import (
    negative_binomial_loss as negative_binomial_loss,
)
from probinf.ppi.inference.losses.linear import Linear as Linear
from probinf.ppi.inference.losses.model import Model as Model
