"""`python -m mopd` is the command line."""

import sys

from mopd.cli import main

sys.exit(main())
