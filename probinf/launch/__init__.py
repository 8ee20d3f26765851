"""Several processes on one machine: ``python -m probinf.launch -n 2 script.py``."""

from probinf.launch.child import job as job
