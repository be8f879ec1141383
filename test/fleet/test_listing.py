"""Recordings are found, once each, and told apart."""

import os
from dataclasses import replace

import pandas
import pytest
from fleet_cases import job, write_broken, write_good, write_images

from page4d_ros.errors import FleetError
from page4d_ros.fleet.recordings import MISSING, Recording, content, list_recordings
from page4d_ros.fleet.run import find_tasks
from page4d_ros.fleet.settings import Task
from page4d_ros.fleet.store import Store


def found(*sources, **options):
    return sorted(r.address for r in list_recordings(map(str, sources), **options))


def paths(some):
    return sorted(map(str, some))


@pytest.fixture(scope='module')
def fleet(tmp_path_factory):
    folder = tmp_path_factory.mktemp('in')
    made = write_good(folder / 'good', 6) + write_broken(folder / 'broken')
    write_images(folder / 'good' / 'tum' / 'depth', 2)
    (folder / 'good' / 'notes.txt').write_text('nothing')
    return folder, made


def test_folders_and_globs(fleet):
    folder, made = fleet
    assert found(folder) == paths(made)
    assert found(f'file://{folder}', folder / 'good') == paths(made)
    assert found(folder / 'good' / 'rosbag*') == paths(p for p in made if 'rosbag1' in p.name)
    assert found(made[0], made[1]) == paths(made[:2])


def test_links_are_followed(fleet, tmp_path):
    _, made = fleet
    (tmp_path / 'in').mkdir()
    for path in made[:3]:
        (tmp_path / 'in' / path.name).symlink_to(path)
    (tmp_path / 'in' / 'loop').symlink_to(tmp_path / 'in')
    assert found(tmp_path / 'in') == paths(tmp_path / 'in' / path.name for path in made[:3])


def test_the_destination_is_no_source(fleet):
    folder, made = fleet
    kept = [path for path in made if 'broken' not in str(path)]
    assert found(folder, without=str(folder / 'broken')) == paths(kept)


@pytest.mark.parametrize('suffix', ['txt', 'csv', 'parquet'])
def test_lists(fleet, tmp_path, suffix):
    folder, made = fleet
    file = folder / f'list.{suffix}'
    names = [str(made[0]), str(made[1].relative_to(folder)), str(folder / 'not_there.bag')]
    if suffix == 'txt':
        file.write_text('# recordings\n' + '\n'.join(names) + '\n\n')
    else:
        table = pandas.DataFrame({'day': range(3), 'recording': names})
        table.to_csv(file) if suffix == 'csv' else table.to_parquet(file)
    listed = list(list_recordings([str(file)]))
    file.unlink()
    assert [r.address for r in listed] == [str(made[0]), str(made[1]), names[2]]
    assert [r.state == MISSING for r in listed] == [False, False, True]


def test_a_list_without_addresses_is_refused(tmp_path):
    (tmp_path / 'list.csv').write_text('day,camera\n1,front\n')
    with pytest.raises(FleetError, match=r'no column of addresses .* only day, camera'):
        found(tmp_path / 'list.csv')


def test_names_are_safe():
    name = Recording('s3://bucket/a b/../ü;rm -rf $x.mcap', 1, '').name
    assert name == '_rm_-rf_x'
    assert Recording('/a/' + 'x' * 300, 1, '').name == 'x' * 80


def test_the_state_changes_with_any_file(fleet):
    folder, _ = fleet
    images = folder / 'good' / 'images'
    before, bytes_before = list(list_recordings([str(images)])), content(str(images))
    first = sorted(images.iterdir())[0]
    os.utime(first, (1, 1))
    after = list(list_recordings([str(images)]))
    assert before[0].state != after[0].state
    assert content(str(images)) == bytes_before


def test_content_tells_apart_what_size_and_time_do_not(tmp_path):
    (tmp_path / 'in').mkdir()
    recording, copy = tmp_path / 'in' / 'a.mcap', tmp_path / 'in' / 'copy.mcap'
    recording.write_bytes(b'1234')
    copy.write_bytes(b'1234')
    options = {'job': job(tmp_path / 'out'), 'store': Store(str(tmp_path / 'out'))}
    source = [str(tmp_path / 'in')]
    assert len(find_tasks(source, **options).tasks) == 2
    assert len(find_tasks(source, **options, verify=True).tasks) == 1
    before = find_tasks(source, **options, verify=True).tasks[0].key
    time = recording.stat().st_mtime_ns
    for path in (recording, copy):
        path.write_bytes(b'1235')
        os.utime(path, ns=(time, time))
    assert find_tasks(source, **options, verify=True).tasks[0].key != before


def test_all_that_is_missing_is_named_with_verify(tmp_path):
    (tmp_path / 'list.txt').write_text('a.bag\nb.bag\n')
    options = job(tmp_path / 'out'), Store(str(tmp_path / 'out'))
    found = find_tasks([str(tmp_path / 'list.txt')], *options, verify=True)
    assert [task.recording.state for task in found.tasks] == [MISSING, MISSING]


def test_keys_hold_all_that_results_depend_on(tmp_path):
    recording = Recording('/a.mcap', 10, 'state')
    plain = job(tmp_path)
    others = [
        job(tmp_path, labels=True),
        job(tmp_path, topics=('odom',)),
        job(tmp_path, opening={'rate': 5.0}),
        job(tmp_path, part_seconds=60.0),
        replace(plain, config=plain.config.with_values({'window.size': 3})),
        replace(plain, weights='others'),
    ]
    keys = {each.key(recording) for each in (plain, *others)}
    assert len(keys) == 7
    elsewhere = plain.config.with_values({'model.threads': 3, 'model.device': 'cpu'})
    assert replace(plain, config=elsewhere).key(recording) == plain.key(recording)
    assert plain.key(recording._replace(size=11)) not in keys
    assert plain.key(recording._replace(state='other')) not in keys
    assert job(tmp_path / 'elsewhere', run='other').key(recording) == plain.key(recording)


def test_less_memory(tmp_path):
    wide = job(tmp_path).config.with_values({'window.size': 8, 'model.resolution': 518})
    each = replace(job(tmp_path), config=wide)
    config, said = each.reduced(2)
    assert (config.window.size, config.model.resolution) == (2, 518)
    assert said == 'window.size 8 -> 2'
    config, said = each.reduced(3)
    assert (config.window.size, config.model.resolution) == (2, 252)
    assert said == 'window.size 8 -> 2, model.resolution 518 -> 252'
    assert each.reduced(0) == (each.config, '')
    assert each.reduced(20)[0].model.resolution >= 56


def test_folders_of_tasks_differ():
    task = Task(Recording('/drive.bag', 1, ''), 'f' * 40)
    assert task.folder == 'drive-ffffffffff'
    part = Task(task.recording, task.key, part=3, parts=5)
    assert (part.folder, part.manifest) == ('drive-ffffffffff-part003', 'f' * 40 + '.003')
