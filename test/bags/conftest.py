"""Makes the helper modules of this folder importable by their names."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def config():
    from page4d_ros.config import Config

    return Config().with_values({'window.stride': 1, 'window.size': 4, 'points.rate': 0.0})
