"""Fuzzing of all readers: `make fuzz`."""

import sys
from pathlib import Path

for folder in ('bags', 'training', 'evaluation', '.'):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))  # as the tests' conftests do
