"""The command."""

import sys

from probinf.launch.processes import main

sys.exit(main())
