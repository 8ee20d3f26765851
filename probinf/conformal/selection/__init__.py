"""Which test points have large outcomes? Selections with a controlled false discovery rate."""

from probinf.conformal.selection.answers import NoisyAnswers as NoisyAnswers
from probinf.conformal.selection.answers import PrivateWeights as PrivateWeights
from probinf.conformal.selection.answers import noisy_answers as noisy_answers
from probinf.conformal.selection.answers import private_weights as private_weights
from probinf.conformal.selection.by_hand import ChiselByHand as ChiselByHand
from probinf.conformal.selection.chiseling import Chiseled as Chiseled
from probinf.conformal.selection.chiseling import chisel as chisel
from probinf.conformal.selection.chiseling import ridge_learner as ridge_learner
from probinf.conformal.selection.evalues import conformal_evalues as conformal_evalues
from probinf.conformal.selection.evalues import e_bh as e_bh
from probinf.conformal.selection.learners import joint_out_of_fold as joint_out_of_fold
from probinf.conformal.selection.optcs import auxiliary_sizes as auxiliary_sizes
from probinf.conformal.selection.optcs import joint_leave_one_out as joint_leave_one_out
from probinf.conformal.selection.optcs import optcs as optcs
from probinf.conformal.selection.optcs import optcs_full as optcs_full
from probinf.conformal.selection.pvalues import Selection as Selection
from probinf.conformal.selection.pvalues import benjamini_hochberg as benjamini_hochberg
from probinf.conformal.selection.pvalues import cfbh as cfbh
from probinf.conformal.selection.pvalues import clipped_scores as clipped_scores
from probinf.conformal.selection.pvalues import selection_pvalues as selection_pvalues
from probinf.conformal.selection.pvalues import weighted_selection as weighted_selection
from probinf.conformal.selection.thresholdout import Thresholdout as Thresholdout
from probinf.conformal.selection.thresholdout import thresholdout as thresholdout
