"""Sets and calibrated probabilities of labels."""

from probinf.conformal.labels.certified import Certified as Certified
from probinf.conformal.labels.certified import certified as certified
from probinf.conformal.labels.circuits import ImplicationCircuit as ImplicationCircuit
from probinf.conformal.labels.circuits import combine as combine
from probinf.conformal.labels.class_conditional import class_conditional as class_conditional
from probinf.conformal.labels.class_conditional import cluster_labels as cluster_labels
from probinf.conformal.labels.cross import cv_plus_labels as cv_plus_labels
from probinf.conformal.labels.knowledge import KnowledgeCircuit as KnowledgeCircuit
from probinf.conformal.labels.venn_abers import VennAbers as VennAbers
from probinf.conformal.labels.venn_abers import venn_abers as venn_abers
from probinf.conformal.labels.venn_abers import venn_abers_multiclass as venn_abers_multiclass
