"""Recovery of the readable part of a recording that was cut off, or never closed.

A scanner walks one file from its beginning, needs no index, and ends without an error where the
file does.
"""

from __future__ import annotations

import bz2
import sqlite3
from io import SEEK_END, BytesIO
from struct import unpack
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from lz4.frame import LZ4FrameDecompressor
from rosbags.interfaces import (
    Connection,
    ConnectionExtRosbag1,
    ConnectionExtRosbag2,
    MessageDefinition,
    MessageDefinitionFormat,
)
from rosbags.rosbag1.reader import (
    Header,
    ReaderError,
    RecordType,
    normalize,
    read_bytes,
    read_uint32,
)
from rosbags.rosbag2.storage_mcap import Schema, get_msgdef, read_string, zstd
from rosbags.rosbag2.storage_mcap import read_bytes as read_field
from rosbags.typesys.msg import normalize_msgtype

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

# Decoders that give what they have of a stream that is cut off.
DECODERS = {
    'bz2': bz2.BZ2Decompressor,
    'lz4': LZ4FrameDecompressor,
    'zstd': zstd.ZstdDecompressor,
}
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 3, 4, 5, 6, 15  # MCAP opcodes
ROS2 = ConnectionExtRosbag2('cdr', [])


class Found(NamedTuple):
    """One message as it lies in the file."""

    connection: Connection
    log_ns: int
    data: bytes


def _decompress(name: str, data: bytes) -> bytes:
    """Decompress as much as there is; nothing where the data is damaged."""
    if name in {'', 'none'}:
        return data
    try:
        return DECODERS[name]().decompress(data)
    except (KeyError, OSError, RuntimeError, ValueError, EOFError, zstd.ZstdError):
        return b''


def scan_rosbag1(path: Path) -> Iterator[Found]:
    """Messages of a rosbag1 file, also of an ``.active`` one."""
    with path.open('rb') as file:
        file.readline()
        yield from _rosbag1_records(file, {})


def _rosbag1_records(file: BinaryIO, known: dict[int, Connection]) -> Iterator[Found]:
    # A chunk that was being written says size 0 and its records follow: they are found, too.
    try:
        while True:
            header = Header.read(file)
            size = read_uint32(file)
            operation = header.get_uint8('op')
            if operation == RecordType.CHUNK:
                data = _decompress(header.get_string('compression'), file.read(size))
                yield from _rosbag1_records(BytesIO(data), known)
                continue
            body = read_bytes(file, size)
            if operation == RecordType.CONNECTION:
                _rosbag1_connection(header, body, known)
            elif operation == RecordType.MSGDATA:
                connection = known[header.get_uint32('conn')]
                yield Found(connection, header.get_time('time'), body)
    except (ReaderError, KeyError, ValueError):
        return


def _rosbag1_connection(header: Header, body: bytes, known: dict[int, Connection]) -> None:
    key = header.get_uint32('conn')
    details = Header.read(BytesIO(len(body).to_bytes(4, 'little') + body))
    known[key] = Connection(
        id=key,
        topic=normalize(header.get_string('topic')),
        msgtype=normalize_msgtype(details.get_string('type')),
        msgdef=MessageDefinition(
            MessageDefinitionFormat.MSG, details.get_string('message_definition')
        ),
        digest=details.get_string('md5sum'),
        msgcount=0,
        ext=ConnectionExtRosbag1(None, None),
        owner=None,
    )


def scan_mcap(path: Path) -> Iterator[Found]:
    """Messages of an MCAP file, chunked or not."""
    with path.open('rb') as file:
        file.seek(8)
        yield from _mcap_records(file, {}, {})


def _mcap_records(
    file: BinaryIO, schemas: dict[int, Schema], channels: dict[int, Connection]
) -> Iterator[Found]:
    begin, end = file.tell(), file.seek(0, SEEK_END)
    file.seek(begin)
    while len(head := file.read(9)) == 9:
        operation, size = unpack('<BQ', head)
        body = file.read(min(size, end - file.tell()))  # a damaged size may be enormous
        record = BytesIO(body)
        if operation == CHUNK and len(body) > 40:
            record.seek(28)
            compression = read_string(record)
            data = _decompress(compression, body[record.tell() + 8 :])
            yield from _mcap_records(BytesIO(data), schemas, channels)
        if len(body) < size or operation == DATA_END:
            return
        if operation == SCHEMA:
            (key,) = unpack('<H', record.read(2))
            names = (read_string(record) for _ in range(3))
            schemas[key] = Schema(key, *names)
        elif operation == CHANNEL:
            _mcap_channel(record, schemas, channels)
        elif operation == MESSAGE:
            key, _, log_ns, _ = unpack('<HIQQ', record.read(22))
            if key in channels:
                yield Found(channels[key], log_ns, body[22:])


def _mcap_channel(
    record: BytesIO, schemas: dict[int, Schema], channels: dict[int, Connection]
) -> None:
    key, schema = unpack('<HH', record.read(4))
    topic, encoding = read_string(record), read_string(record)
    read_field(record)
    if encoding == 'cdr' and schema in schemas:
        kind = schemas[schema]
        channels[key] = Connection(key, topic, kind.name, get_msgdef(kind), '', 0, ROS2, None)


def scan_sqlite(path: Path) -> Iterator[Found]:
    """Messages of a .db3 file, with those of its write-ahead log."""
    logged = path.with_name(path.name + '-wal').exists()
    mode = 'mode=ro' if logged else 'mode=ro&immutable=1'
    database = sqlite3.connect(f'{path.absolute().as_uri()}?{mode}', uri=True)
    try:
        # without it SQLite refuses a file that is shorter than its header says
        database.execute('PRAGMA writable_schema=ON')
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, '')
        topics = {
            key: Connection(key, topic, kind, nothing, '', 0, ROS2, None)
            for key, topic, kind in database.execute('SELECT id, name, type FROM topics')
        }
        query = 'SELECT topic_id, timestamp, data FROM messages ORDER BY id'
        for key, log_ns, data in database.execute(query):
            if key in topics:
                yield Found(topics[key], log_ns, data)
    except sqlite3.Error:
        return
    finally:
        database.close()


class Salvage:
    """Reader of one damaged file, with the interface of rosbags' readers.

    Messages come in the order of the file.

    Args:
        path: the file.
        scan: its scanner.
    """

    def __init__(self, path: Path, scan: Callable[[Path], Iterator[Found]]) -> None:
        self._path, self._scan = path, scan
        self.connections: list[Connection] = []
        self.start_time, self.end_time = 2**63 - 1, 0

    def open(self) -> None:
        """Walk through the file once, to know what it holds."""
        found: dict[int, Connection] = {}
        counts: dict[int, int] = {}
        for connection, log_ns, _ in self._scan(self._path):
            found[connection.id] = connection
            counts[connection.id] = counts.get(connection.id, 0) + 1
            self.start_time = min(self.start_time, log_ns)
            self.end_time = max(self.end_time, log_ns + 1)
        self.connections = [c._replace(msgcount=counts[c.id]) for c in found.values()]

    def messages(
        self,
        connections: Collection[Connection],
        start: int | None = None,
        stop: int | None = None,
    ) -> Iterator[Found]:
        """Messages of some connections, from `start` and before `stop` in nanoseconds."""
        chosen = {connection.id for connection in connections}
        start, stop = start or 0, stop or 2**63
        for found in self._scan(self._path):
            if found.connection.id in chosen and start <= found.log_ns < stop:
                yield found

    def close(self) -> None:
        """Nothing is held open between two messages."""
