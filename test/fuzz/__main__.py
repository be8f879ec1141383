"""Command line of the fuzzing."""

import sys

from fuzz.campaign import main

sys.exit(main())
