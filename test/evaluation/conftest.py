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
    from page4d_ros.evaluation.run import evaluate_recording

    _, source, true, _ = drive
    output = tmp_path_factory.mktemp('good')
    return evaluate_recording(true, source, output, command='page4d demo <x> & more'), output


@pytest.fixture(scope='session')
def walks(tmp_path_factory):
    """Folder of two sequences in TUM's layout, `off` and `on`: untrained weights, by the mask."""
    import layouts
    from typer.testing import CliRunner

    from page4d_ros.cli import app

    folder = tmp_path_factory.mktemp('walks')
    for letter in 'ab':
        layouts.write_tum(folder / 'tum', f'rgbd_dataset_freiburg3_{letter}', count=4)
    modes = {'off': 'streaming,whole,streaming-other-mask'}
    modes['on'] = 'streaming,streaming-other-mask,whole-other-mask'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('page4d_ros.evaluation.metrics.point_maps.MOST', 2000)
        for mask, names in modes.items():
            words = ['data', 'tum', folder / 'tum', '-o', folder / mask, '--frames', 3]
            words += ['--checkpoint', 'untrained', '--modes', names]
            words += ['--set', 'model.resolution=112', '--set', f'model.mask_attention={mask}']
            done = CliRunner().invoke(app, ['evaluate', *map(str, words)])
            assert done.exit_code == 0, done.output
    return folder
