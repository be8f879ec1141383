"""Recordings and folders of data sets."""

import contextlib
from collections import deque
from itertools import islice

import numpy as np
from bags_helpers import FORMATS, camera_messages, compressed, write_bag
from layouts import (
    write_7scenes,
    write_davis,
    write_dycheck,
    write_euroc,
    write_kitti,
    write_point_odyssey,
    write_sintel,
    write_tum,
)

from fuzz.target import target
from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.recording import Recording
from page4d_ros.config import Config
from page4d_ros.datasets.registry import open_sequences
from page4d_ros.datasets.tum_recording import import_tum
from page4d_ros.errors import BagError, FrameError
from page4d_ros.perception.types import Frame

MOST = 50  # messages that are read of one recording
LISTS = {'.txt', '.csv', '.yaml', '.json', '.npz', '.npy', '.dpt', '.cam'}
WRITERS = {
    'tum': write_tum,
    'sintel': write_sintel,
    'davis': write_davis,
    'kitti': write_kitti,
    '7scenes': write_7scenes,
    'euroc': write_euroc,
    'pointodyssey': write_point_odyssey,
    'dycheck': write_dycheck,
}


def read_all(path):
    """Read a recording as `page4d info` and as replay do."""
    refused = None
    try:
        with open_bag(path) as bag:
            for message in islice(bag.messages(bag.topics()), MOST):
                assert isinstance(message.log_ns, int)
            deque(islice(bag.serialized(), MOST), maxlen=0)
    except BagError as error:
        refused = error
    with Recording(path, Config()) as source:
        for item in islice(source.items(), MOST):
            if isinstance(item, Frame):
                with contextlib.suppress(FrameError):
                    item.decode()
        assert all(source.take_warnings())
    if refused:
        raise refused


def reader(folder, form, suffix, compressions=()):
    """Seeds and reader of one format."""
    seeds = []
    small = {'width': 8, 'height': 6}
    for index, packing in enumerate((None, *compressions)):
        path = write_bag(folder / f'seed{index}', form, camera_messages(2, **small), packing)
        seeds.append(path.read_bytes())
    jpegs = camera_messages(2, make=compressed, topic='/camera/image/compressed')
    seeds.append(write_bag(folder / 'jpegs', form, jpegs).read_bytes())
    path = folder / f'input{suffix}'

    def take(data):
        path.write_bytes(data)
        read_all(path)

    return seeds, take


@target(words=[b'\x89MCAP0\r\n', b'ros2msg', b'ros2idl', b'cdr', b'zstd', b'lz4'], heavy=True)
def mcap(folder):
    """An MCAP file, cut or changed."""
    return reader(folder, 'bare mcap', '.mcap')


@target(words=[b'#ROSBAG V2.0\n', b'op=', b'conn=', b'size=', b'compression=bz2'], heavy=True)
def rosbag1(folder):
    """A rosbag1 file, cut or changed."""
    return reader(folder, 'rosbag1', '.bag', ('BZ2', 'LZ4'))


@target(words=[b'CREATE TABLE ', b'CREATE VIEW ', b'messages', b'topics', b'TEXT'], heavy=True)
def sqlite3(folder):
    """An SQLite file of rosbag2, cut or changed."""
    return reader(folder, 'bare db3', '.db3')


@target(words=[b'nanoseconds: ', b'message_count: ', b'- ', b'&a ', b'*a', b'../', b'null', b'-1'])
def metadata(folder):
    """metadata.yaml of a rosbag2."""
    assert 'mcap' in FORMATS
    bag = write_bag(folder / 'bag', 'mcap', camera_messages(1, width=8, height=6))
    path = bag / 'metadata.yaml'

    def take(data):
        path.write_bytes(data)
        read_all(bag)

    return [path.read_bytes()], take


@target(words=[b'nan', b'inf', b'-1', b'1e999', b'../', b'/etc/passwd', b'#', b'\0'], heavy=True)
def dataset(folder):
    """Lists, poses and calibrations of eight data sets; the first two bytes choose the file."""
    files = []
    for name, write in WRITERS.items():
        root = write(folder / name)
        inside = (p for p in sorted((folder / name).rglob('*')) if p.suffix in LISTS)
        kinds = {}
        for path in inside:  # one of each kind is enough
            kinds.setdefault((path.parent.name, path.suffix), (name, root, path))
            if path.suffix in {'.txt', '.csv'}:
                kinds[path] = (name, root, path)
        files += kinds.values()
    whole = [path.read_bytes() for _, _, path in files]
    seeds = [index.to_bytes(2, 'little') + data for index, data in enumerate(whole)]

    def take(data):
        index = int.from_bytes(data[:2], 'little') % len(files)
        name, root, path = files[index]
        path.write_bytes(data[2:])
        try:
            for clip in open_sequences(name, root):
                for frame in clip.frames(range(min(clip.count, 2))):
                    T = frame.T_world_camera
                    assert T is None or not np.isinf(T).any()
        finally:
            path.write_bytes(whole[index])

    return seeds, take


@target(words=[b'nan', b'inf', b'../', b'rgb/', b'1e999', b'\0'], heavy=True)
def tum_import(folder):
    """Lists of a TUM sequence for `page4d import-tum`; the first byte chooses the list."""
    root = write_tum(folder / 'tum', count=1)
    (root,) = (path for path in root.iterdir() if path.is_dir())
    lists = [root / f'{name}.txt' for name in ('rgb', 'groundtruth', 'depth')]
    whole = [path.read_bytes() for path in lists]

    def take(data):
        index = data[0] % len(lists) if data else 0
        lists[index].write_bytes(data[1:])
        try:
            import_tum(root, folder / 'out', 'freiburg1', force=True)
        finally:
            lists[index].write_bytes(whole[index])

    return [bytes([i]) + data for i, data in enumerate(whole)], take
