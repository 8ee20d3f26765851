"""scikit-learn estimators on prior-data fitted networks; needs the extra ``sklearn``."""

from probinf.amortized.estimators.classification import PFNClassifier as PFNClassifier
from probinf.amortized.estimators.regression import PFNRegressor as PFNRegressor
