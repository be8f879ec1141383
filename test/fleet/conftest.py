"""Makes the helper modules of this folder, and those of recordings, importable."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'bags')]
pytest.importorskip('pyarrow', reason='pyarrow is not installed')
