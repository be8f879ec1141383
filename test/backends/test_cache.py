"""Entries of the cache are whole, belong to their key, and stay within the limit."""

import os
from pathlib import Path

import pytest

from page4d_ros.backends.cache import FACTS, GraphCache, default_folder

KEY = {'weights': 'a', 'graph': 'step'}


def writer(size=100, **facts):
    def write(folder):
        (folder / 'graph.blob').write_bytes(os.urandom(size))
        return facts

    return write


def test_an_entry_is_found_by_its_key_alone(tmp_path):
    cache = GraphCache(tmp_path)
    assert cache.find(KEY) is None
    stored = cache.store(KEY, writer(difference=0.5))
    folder, facts = GraphCache(tmp_path).find(dict(reversed(KEY.items())))
    assert folder == stored
    assert facts == {'difference': 0.5}
    for name in KEY:
        assert cache.find(KEY | {name: 'other'}) is None


def test_the_last_used_of_some_entries_is_known(tmp_path):
    cache = GraphCache(tmp_path)
    assert cache.last({'weights': 'a'}) is None
    for age, (weights, graph) in enumerate([('a', 'new'), ('a', 'old'), ('b', 'other')]):
        folder = cache.store({'weights': weights, 'graph': graph}, writer(grid=[3, age]))
        os.utime(folder / FACTS, (1000 - age, 1000 - age))
    assert cache.last({'weights': 'a'}) == {'grid': [3, 0]}
    cache.find({'weights': 'a', 'graph': 'old'})
    assert cache.last({'weights': 'a'}) == {'grid': [3, 1]}
    (cache.find({'weights': 'a', 'graph': 'old'})[0] / FACTS).write_text('[')
    assert cache.last({'weights': 'a'}) == {'grid': [3, 0]}
    assert cache.last({'weights': 'c'}) is None


@pytest.mark.parametrize(
    'damage', ['cut short', 'changed', 'file missing', 'facts', 'other key', 'facts lost', 'deep']
)
def test_a_damaged_entry_is_removed(tmp_path, damage):
    cache = GraphCache(tmp_path)
    folder = cache.store(KEY, writer())
    blob, facts = folder / 'graph.blob', folder / FACTS
    if damage == 'cut short':
        blob.write_bytes(blob.read_bytes()[:50])
    elif damage == 'changed':
        blob.write_bytes(bytes(100))
    elif damage == 'file missing':
        blob.unlink()
    elif damage == 'facts':
        facts.write_text('{"key": ')
    elif damage == 'facts lost':
        facts.write_text(facts.read_text().replace('"facts"', '"fact"'))
    elif damage == 'deep':
        facts.write_text('[' * 100_000)
    else:
        facts.write_text(facts.read_text().replace('"step"', '"steps"'))
    assert cache.find(KEY) is None
    assert not folder.exists()
    assert cache.store(KEY, writer()) == folder
    assert cache.find(KEY)


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def write(folder):
        (folder / 'graph.blob').write_bytes(b'half')
        raise RuntimeError('no more')

    cache = GraphCache(tmp_path)
    with pytest.raises(RuntimeError, match='no more'):
        cache.store(KEY, write)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_unused_entries_make_room(tmp_path):
    cache = GraphCache(tmp_path, limit=3000)
    for number in range(3):
        path = cache.store({'n': number}, writer(700))
        os.utime(path / FACTS, (number, number))
    assert cache.find({'n': 0})  # is the last used now
    cache.store({'n': 3}, writer(700))
    assert [bool(cache.find({'n': number})) for number in range(4)] == [True, False, True, True]
    cache.store({'n': 4}, writer(5000))
    assert cache.find({'n': 4})
    assert len(list(tmp_path.iterdir())) == 1


def test_the_folder_follows_the_desktop_standard(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', '/somewhere')
    assert default_folder() == Path('/somewhere/page4d_ros/graphs')
    monkeypatch.delenv('XDG_CACHE_HOME')
    assert default_folder() == Path.home() / '.cache/page4d_ros/graphs'
