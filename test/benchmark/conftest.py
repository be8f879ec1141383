"""Makes the helper modules of the training's tests importable by their names."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / 'training'))
