"""`page4d annotate` from end to end, with one process."""

import json
import os
import sys
import time

import pandas
import pyarrow.parquet as pq
import pytest
from fleet_cases import SETTINGS, WORDS, annotate, messages, page4d, write_broken, write_good

from page4d_ros.bags.replay import OFFLINE, replay
from page4d_ros.config import Config

GOOD = 54


@pytest.fixture(scope='module')
def fleet(tmp_path_factory):
    """Sixty recordings of mixed kinds, six of them broken, their results, and what was said."""
    folder = tmp_path_factory.mktemp('fleet')
    good = write_good(folder / 'in' / 'good', GOOD)
    broken = write_broken(folder / 'in' / 'broken')
    done = annotate([folder / 'in'], folder / 'out', '--tries', 2)
    return folder, good, broken, done


def index(folder):
    return pandas.read_parquet(folder / 'index.parquet').set_index('recording').sort_index()


def test_good_recordings_are_annotated_and_broken_ones_named(fleet):
    folder, good, broken, done = fleet
    assert done.exit_code == 1, done.output
    rows = index(folder / 'out')
    assert set(rows.index) == {str(path) for path in good}
    assert (rows.estimates >= 3).all()
    assert (rows.tries == 1).all()
    given_up = [json.loads(path.read_text()) for path in (folder / 'out' / 'quarantine').iterdir()]
    assert {facts['recording'] for facts in given_up} == {str(path) for path in broken}
    assert all(facts['tries'] == 2 and facts['reason'] and facts['log'] for facts in given_up)
    assert {facts['kind'] for facts in given_up} == {'recording'}
    for path in broken:
        assert str(path) in done.stdout


def test_results_equal_a_replay_of_each_alone(fleet, tmp_path):
    folder, good, _, _ = fleet
    rows = index(folder / 'out')
    config = Config().with_values(OFFLINE | SETTINGS)
    for path in good[:5]:  # a folder of images, a video, three formats of rosbags
        output = folder / 'out' / rows.output[str(path)]
        alone = tmp_path / output.name
        replay(path, alone, config)
        trajectory = (output / 'trajectory.tum').read_bytes()
        assert trajectory == (alone / 'trajectory.tum').read_bytes(), path
        assert messages(output) == messages(alone), path


def test_nothing_is_half(fleet):
    folder, _, _, _ = fleet
    out = folder / 'out'
    assert list((out / '.partial').iterdir()) == []
    for path in (out / 'manifests').iterdir():
        manifest = json.loads(path.read_text())
        output = out / manifest['output']
        there = {p.relative_to(output).as_posix(): p for p in output.rglob('*') if p.is_file()}
        there.pop('manifest.json')
        assert {name: p.stat().st_size for name, p in there.items()} == manifest['files']
        assert {'trajectory.tum', 'frames.parquet', 'figures.json'} <= there.keys()
        assert 'thumbnails/minute-0000.jpg' in there


def test_a_second_run_does_what_is_missing(fleet):
    folder, good, _, _ = fleet
    before = index(folder / 'out')
    again = annotate([folder / 'in'], folder / 'out', '--tries', 2)
    assert again.exit_code == 1  # those in quarantine stay failures
    assert f'{GOOD} done before, 6 given up before, 0 to do' in again.stderr
    assert (index(folder / 'out').finished == before.finished).all()

    changed = good[-1]
    data = next(changed.glob('*.[md][cb]*')) if changed.is_dir() else changed
    os.utime(data, (time.time() + 5, time.time() + 5))
    third = annotate([folder / 'in'], folder / 'out', '--tries', 2)
    assert f'{GOOD - 1} done before, 6 given up before, 1 to do' in third.stderr
    rows = index(folder / 'out')
    newer = rows.finished != before.finished
    assert list(rows.index[newer]) == [str(changed)]
    assert len(rows) == GOOD


def test_index_and_report(fleet):
    folder, _, broken, _ = fleet
    out = folder / 'out'
    minutes = pq.read_table(out / 'minutes.parquet')
    assert minutes.num_rows == GOOD
    assert set(minutes['minute'].to_pylist()) == {0}
    page = (out / 'report.html').read_text()
    assert page.count('data:image/jpeg;base64,') == 24
    assert f'{GOOD} recordings' in page
    for path in broken:
        assert path.name in page


def test_status_from_another_terminal(fleet):
    folder, _, broken, _ = fleet
    done = page4d('annotate', '--status', folder / 'out')
    assert done.exit_code == 0, done.output
    assert (
        f'{len(list((folder / "out" / "manifests").iterdir()))} results, 6 given up' in done.stdout
    )
    assert 'ended' in done.stdout
    assert str(broken[0]) in done.stdout


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ([], 'give SOURCES and --output'),
        (['{here}', '--output', '{here}/out', '--workers', '2'], '--workers 2 needs Ray'),
        (['{here}/none', '--output', '{here}/out'], '{here}/none: no such file or folder'),
        (['{here}/*.bag', '--output', '{here}/out'], '{here}/*.bag: matches nothing'),
        (['{here}', '--output', '{here}/out'], 'no recordings there'),
        (['nosuch://a', '--output', '{here}/out'], 'nosuch://a: cannot be opened'),
        (['{here}', '--output', '{here}/out', '--overlap', '3600'], '--overlap must be shorter'),
        (['{here}', '--output', '{here}/out', '--set', 'cameras=[a,b]'], 'is of one camera'),
        (['{here}', '--output', '{here}/out', '--checkpoint', '{here}/no.pt'], 'no.pt'),
    ],
)
def test_mistakes_get_one_line(tmp_path, words, said):
    done = page4d('annotate', *(word.format(here=tmp_path) for word in words), *WORDS)
    assert done.exit_code == 1
    assert said.format(here=tmp_path) in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not isinstance(done.exception, OSError)


@pytest.mark.parametrize(('words', 'missing'), [([], 'pyarrow'), (['--ray', 'local'], 'ray')])
def test_a_missing_library_is_named(tmp_path, monkeypatch, words, missing):
    module = sys.modules['page4d_ros.commands.annotate']
    monkeypatch.setattr(module, 'find_spec', lambda name: None if name == missing else name)
    done = page4d('annotate', tmp_path, '--output', tmp_path / 'out', *words)
    assert done.exit_code == 1
    assert f"page4d annotate needs {missing}: pip install 'page4d_ros[fleet]'" in done.stderr
