"""Amortized inference: networks trained once on a prior or simulator, then corrected exactly."""

from probinf.amortized import weights as weights
from probinf.amortized.amortizer import Amortizer as Amortizer
from probinf.amortized.amortizer import Task as Task
from probinf.amortized.ranges import Ranges as Ranges
from probinf.amortized.train import Trained as Trained
from probinf.amortized.train import train as train
from probinf.amortized.weights import load as load
from probinf.amortized.weights import shipped as shipped
