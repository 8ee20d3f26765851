"""Quick approximate engines: the mode, and a tractable law fitted to the posterior.

Each returns the same Posterior as the exact engines, with the law as a program of itself
(``posterior.as_program()``), from which ``pi.refine`` goes on to the exact posterior.
"""
