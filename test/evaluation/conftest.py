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


@pytest.fixture(scope='session')
def good(drive, tmp_path_factory):
    """(metrics, folder) of the report about the recording of the truth."""
    from page4d_ros.evaluation.evaluate import evaluate

    _, source, true, _ = drive
    output = tmp_path_factory.mktemp('good')
    return evaluate(true, source, output, command='page4d demo <x> & more'), output
