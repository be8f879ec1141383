"""Limits on what a recording may make of this machine's memory and time.

Sizes in a file are claims of whoever wrote it. rosbags decompresses chunks without a limit, and so
its tables of decompressors are filled with those of this module, which have one.
"""

from __future__ import annotations

import bz2
import sqlite3
from typing import TYPE_CHECKING, BinaryIO

from lz4.frame import LZ4FrameDecompressor
from rosbags.rosbag1 import reader as rosbag1
from rosbags.rosbag2 import storage_mcap as mcap

from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from pathlib import Path

SMALL = 1 << 26  # bytes that any chunk may unpack to
LARGEST = 1 << 29  # bytes of one that are not out of proportion to it
RATIO = 1000  # images of one colour compress like that
MOST_TEXT, MOST_LINES = 1 << 18, 5_000  # of the definition of a message
STEPS = 100_000_000  # of SQLite's machine between two messages
DECODERS = {
    'bz2': bz2.BZ2Decompressor,
    'lz4': LZ4FrameDecompressor,
    'zstd': mcap.zstd.ZstdDecompressor,
}
DAMAGE = (OSError, RuntimeError, ValueError, EOFError, mcap.zstd.ZstdError)


class Bounded:
    """A file that never allocates more than it holds, however much is asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        begin = file.tell()
        self._end = file.seek(0, 2)
        file.seek(begin)

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes."""
        return self._file.read(max(0, min(size, self._end - self._file.tell())))

    def readline(self) -> bytes:
        """Read one line."""
        return self._file.readline()


def unpacked(name: str, data: bytes, size: int | None = None) -> bytes:
    """Decompress as much as there is of a stream that may be cut off.

    Args:
        name: of the compression, as in the file.
        data: compressed.
        size: of the result as declared; None where it is not.

    Raises:
        BagError: the result is larger than declared, or out of proportion.
        KeyError: the compression is not known; others of `DAMAGE` for damaged data.
    """
    most = min(max(SMALL, RATIO * len(data)), LARGEST)
    if size is not None and size > most:
        raise BagError(f'a chunk of {len(data)} bytes says that it unpacks to {size}')
    out, rest = b'', data
    while rest and len(out) <= most:  # frames may follow each other
        decoder = DECODERS[name]()
        out += decoder.decompress(rest, max_length=most + 1 - len(out))
        rest = decoder.unused_data if decoder.eof else b''
    if len(out) > most:
        raise BagError(f'a chunk of {len(data)} bytes unpacks to more than {most}')
    return out


def limit_rosbags() -> None:
    """Let rosbags decompress with these limits."""
    for name in ('lz4', 'zstd'):
        mcap.DECOMPRESSORS[name] = lambda data, size, name=name: unpacked(name, data, size)
    for name in ('lz4', 'bz2'):
        rosbag1.decompressors[name] = lambda data, name=name: unpacked(name, data)


def check_database(path: Path) -> None:
    """Refuse a database whose tables compute: a view may have no end.

    Raises:
        BagError: says which.
    """
    database = open_database(path)
    try:
        found = database.execute("SELECT type, name FROM sqlite_master WHERE type != 'index'")
        views = [name for kind, name in found if kind != 'table']
        columns = database.execute("SELECT hidden FROM pragma_table_xinfo('messages')")
        if views or any(hidden for (hidden,) in columns):
            what = f'{views[0]!r} is' if views else 'its messages are'
            raise BagError(f'{path}: {what} computed, not recorded; give a recording of rosbag2')
    except sqlite3.Error:
        return  # damaged: what follows says it
    finally:
        database.close()


def open_database(path: Path) -> sqlite3.Connection:
    """SQLite file to be read only, with its write-ahead log where there is one."""
    logged = path.with_name(path.name + '-wal').exists()
    mode = 'mode=ro' if logged else 'mode=ro&immutable=1'
    database = sqlite3.connect(f'{path.absolute().as_uri()}?{mode}', uri=True)
    database.set_progress_handler(lambda: 1, STEPS)
    # without it SQLite refuses a file that is shorter than its header says
    database.execute('PRAGMA writable_schema=ON')
    return database


limit_rosbags()
