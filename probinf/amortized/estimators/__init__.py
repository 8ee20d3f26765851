"""scikit-learn estimators: prior-data fitted networks, and what any predictor does not know.

Needs the extra ``sklearn``.
"""

from probinf.amortized.estimators.classification import PFNClassifier as PFNClassifier
from probinf.amortized.estimators.deup import DEUP as DEUP
from probinf.amortized.estimators.pairs import PairCalibrated as PairCalibrated
from probinf.amortized.estimators.regression import PFNRegressor as PFNRegressor
