import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope='session')
def drive(tmp_path_factory):
    """(frames, source, recording of the truth, recording of an untrained network)."""
    import scenario

    folder = tmp_path_factory.mktemp('drive')
    frames = scenario.rendered(10)
    source = scenario.write_source(frames, folder / 'source')
    true = scenario.record(source, folder / 'true', frames)
    untrained = scenario.record(source, folder / 'untrained')
    return frames, source, true, untrained
