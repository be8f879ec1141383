"""Recovery of the readable part of a recording that was cut off, or never closed.

A scanner walks one file from its beginning, needs no index, and ends without an error where the
file does.
"""

from __future__ import annotations

import sqlite3
import struct
from io import BytesIO
from struct import unpack
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

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
from rosbags.rosbag2.errors import ReaderError as ReaderError2
from rosbags.rosbag2.storage_mcap import Schema, get_msgdef, read_string
from rosbags.rosbag2.storage_mcap import read_bytes as read_field
from rosbags.typesys.msg import normalize_msgtype

from page4d_ros.bags.limits import DAMAGE, LARGEST, Bounded, open_database, unpacked
from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

# A record that is too short, or says what cannot be: the next one may be whole.
MALFORMED = (ReaderError, ReaderError2, struct.error, KeyError, ValueError, IndexError)
SCHEMA, CHANNEL, MESSAGE, CHUNK, DATA_END = 3, 4, 5, 6, 15  # MCAP opcodes
ROS2 = ConnectionExtRosbag2('cdr', [])


class Found(NamedTuple):
    """One message as it lies in the file."""

    connection: Connection
    log_ns: int
    data: bytes


def _decompress(name: str, data: bytes) -> bytes:
    """Decompress as much as there is; nothing where the data is damaged or a bomb."""
    if name in {'', 'none'}:
        return data
    try:
        return unpacked(name, data)
    except (*DAMAGE, KeyError, BagError):
        return b''


def scan_rosbag1(path: Path) -> Iterator[Found]:
    """Messages of a rosbag1 file, also of an ``.active`` one."""
    with path.open('rb') as file:
        file.readline()
        yield from _rosbag1_records(file, {})


def _rosbag1_records(
    source: BinaryIO, known: dict[int, Connection], *, inside: bool = False
) -> Iterator[Found]:
    file = Bounded(source)
    # A chunk that was being written says size 0 and its records follow: they are found, too.
    try:
        while True:
            header = Header.read(file)
            size = read_uint32(file)
            operation = header.get_uint8('op')
            if operation == RecordType.CHUNK and not inside:
                data = _decompress(header.get_string('compression'), file.read(size))
                yield from _rosbag1_records(BytesIO(data), known, inside=True)
                continue
            body = read_bytes(file, size)
            if operation == RecordType.CONNECTION:
                _rosbag1_connection(header, body, known)
            elif operation == RecordType.MSGDATA:
                connection = known[header.get_uint32('conn')]
                yield Found(connection, header.get_time('time'), body)
    except MALFORMED:
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
    source: BinaryIO,
    schemas: dict[int, Schema],
    channels: dict[int, Connection],
    *,
    inside: bool = False,
) -> Iterator[Found]:
    file = Bounded(source)
    while len(head := file.read(9)) == 9:
        operation, size = unpack('<BQ', head)
        body = file.read(size)
        if operation == CHUNK and not inside:
            yield from _mcap_records(BytesIO(_chunk(body)), schemas, channels, inside=True)
        if len(body) < size or operation in {0, DATA_END}:  # 0 is no record at all
            return
        try:
            if operation == SCHEMA:
                _mcap_schema(BytesIO(body), schemas)
            elif operation == CHANNEL:
                _mcap_channel(BytesIO(body), schemas, channels)
            elif operation == MESSAGE:
                key, _, log_ns, _ = unpack('<HIQQ', body[:22])
                if key in channels:
                    yield Found(channels[key], log_ns, body[22:])
        except MALFORMED:
            continue


def _chunk(body: bytes) -> bytes:
    """Records of a chunk; nothing where it is damaged."""
    record = BytesIO(body)
    record.seek(28)
    try:
        compression = read_string(record)
    except MALFORMED:
        return b''
    return _decompress(compression, body[record.tell() + 8 :])


def _mcap_schema(record: BytesIO, schemas: dict[int, Schema]) -> None:
    (key,) = unpack('<H', record.read(2))
    names = (read_string(record) for _ in range(3))
    schemas[key] = Schema(key, *names)


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
    database = open_database(path)
    try:
        nothing = MessageDefinition(MessageDefinitionFormat.NONE, '')
        topics = {
            key: Connection(key, topic, kind, nothing, '', 0, ROS2, None)
            for key, topic, kind in database.execute('SELECT id, name, type FROM topics')
            if isinstance(topic, str) and isinstance(kind, str)
        }
        query = 'SELECT topic_id, timestamp, data FROM messages WHERE length(data) < ? ORDER BY id'
        for key, log_ns, data in database.execute(query, (LARGEST,)):
            if key in topics and isinstance(log_ns, int) and isinstance(data, bytes):
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
