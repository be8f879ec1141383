"""Messages of a recording: rosbag1, rosbag2 (sqlite3 or MCAP), and bare .mcap and .db3 files."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rosbags.convert.converter import migrate_bytes
from rosbags.interfaces import MessageDefinitionFormat
from rosbags.rosbag1 import Reader as Reader1
from rosbags.rosbag2 import Reader as Reader2
from rosbags.typesys import (
    Stores,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)

from page4d_ros.bags.factory import noetic, typestore
from page4d_ros.bags.limits import MOST_LINES, MOST_TEXT, check_database
from page4d_ros.bags.recover import Salvage, scan_mcap, scan_rosbag1, scan_sqlite
from page4d_ros.errors import BagError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rosbags.interfaces import Connection, MessageDefinition
    from rosbags.typesys.store import Typestore

    AnyReader = Reader1 | Reader2 | Salvage

METADATA = 'metadata.yaml'
SCANNERS = {
    b'#ROSBAG V2.0': scan_rosbag1,
    b'\x89MCAP0\r\n': scan_mcap,
    b'SQLite format 3\0': scan_sqlite,
}
STORAGE_SUFFIXES = ('.mcap', '.db3')
OURS = 'page4d_ros/'  # types that have grown; older recordings lack fields
IDL_RULE = '=' * 80 + '\n'


class TopicInfo(NamedTuple):
    """A topic of a recording."""

    type: str
    count: int


class Message(NamedTuple):
    """A message as it was recorded.

    Attributes:
        topic: where.
        log_ns: when it was recorded, in nanoseconds.
        value: the message; None where it cannot be deserialised.
    """

    topic: str
    log_ns: int
    value: Any | None


def is_bag(path: Path) -> bool:
    """True if this is a recording, damaged or not."""
    return bool(_storage_files(path)) or (path / METADATA).exists()


def natural(path: Path) -> list[str | int]:
    """Sort key under which 10 comes after 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', path.name)]


def _storage_files(path: Path) -> list[Path]:
    """Files of known formats: the path itself, or those in the folder."""
    if path.is_dir():
        inside = (p for p in path.iterdir() if p.suffix in STORAGE_SUFFIXES)
        return sorted(filter(_scanner, inside), key=natural)
    return [path] if _scanner(path) else []


def _scanner(path: Path) -> Any | None:
    """Scanner of the file's format, which its first bytes tell."""
    with path.open('rb') as file:
        head = file.read(16)
    return next((scan for magic, scan in SCANNERS.items() if head.startswith(magic)), None)


def open_bag(path: Path | str) -> Bag:
    """Open a recording; a damaged one is read as far as it goes, with a warning.

    Raises:
        BagError: there is no such recording, or nothing in it can be read.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise BagError(f'{path}: no such file or folder')
    if path.is_file() and path.stat().st_size == 0:
        raise BagError(f'{path}: is empty; record or copy it again')
    if not is_bag(path):
        raise BagError(
            f'{path}: is no recording that is known here; give a rosbag1 (.bag), the folder of a '
            'rosbag2, or an .mcap or .db3 file'
        )
    try:
        return Bag(path)
    except (BagError, OSError):
        raise
    except Exception as error:  # whatever is read from a broken file may be anything
        raise BagError(f'{path}: cannot be read ({_reason(error)}); record it again') from error


class Bag:
    """An open recording.

    Attributes:
        path: file or folder.
        connections: of rosbags: topic, msgtype, msgcount …
        start_time: of the first message, in nanoseconds; end_time: just after the last.
        warnings: what was lost, in words.
        unreadable: messages that could not be deserialised, by topic.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.unreadable: Counter[str] = Counter()
        self._stores: dict[str, Typestore] = {}
        self._ros1 = path.is_file() and _scanner(path) is scan_rosbag1
        for file in _storage_files(path):
            if _scanner(file) is scan_sqlite:
                check_database(file)
        self._readers = self._open()
        self.connections: list[Connection] = [c for r in self._readers for c in r.connections]
        if not any(connection.msgcount for connection in self.connections):
            self.close()
            raise BagError(f'{path}: holds no messages that can be read; record it again')
        self.start_time = min(reader.start_time for reader in self._readers)
        self.end_time = max(reader.end_time for reader in self._readers)

    def __enter__(self) -> Bag:
        """Give the recording itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the files."""
        for reader in self._readers:
            reader.close()
        self._readers = []

    def topics(self) -> dict[str, TopicInfo]:
        """Type and number of messages of every topic, by name."""
        out: dict[str, TopicInfo] = {}
        for c in self.connections:
            before = out[c.topic].count if c.topic in out else 0
            out[c.topic] = TopicInfo(c.msgtype, before + c.msgcount)
        return dict(sorted(out.items()))

    def messages(
        self, topics: Collection[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[Message]:
        """Messages of some topics in recorded order, from `start` and before `stop` in ns."""
        for connection, log_ns, data in self._raw(set(topics), start, stop):
            yield Message(connection.topic, log_ns, self._deserialized(connection, data))

    def serialized(self) -> Iterator[tuple[str, int, bytes]]:
        """(topic, time in nanoseconds, CDR) of everything that can be read."""
        plans: dict[str, object] = {}
        for connection, log_ns, data in self._raw({c.topic for c in self.connections}):
            try:
                cdr = self._to_ros2(connection, data, plans) if self._ros1 else data
            except Exception:  # the bytes may be anything
                self.unreadable[connection.topic] += 1
                continue
            yield connection.topic, log_ns, bytes(cdr)

    def _open(self) -> list[AnyReader]:
        """Open by the index if there is a sound one, otherwise file by file as far as it goes."""
        if reason := self._unindexed():
            return self._salvage(reason)
        reader = Reader1(self.path) if self._ros1 else Reader2(self.path)
        try:
            reader.open()
            _check_index(reader)
        except Exception as error:  # rosbags raises whatever it meets in a broken file
            return self._salvage(_reason(error))
        return [reader]

    def _unindexed(self) -> str:
        """Why rosbags would not see all that is there; "" where it does."""
        files = _storage_files(self.path)
        if any(file.with_name(file.name + '-wal').exists() for file in files):
            return 'it has a write-ahead log'
        if self.path.is_dir() and not (self.path / METADATA).exists():
            return f'{METADATA} is missing'
        if self.path.is_file() and not self._ros1 and self.path.suffix not in STORAGE_SUFFIXES:
            return f'its name does not end in {" or ".join(STORAGE_SUFFIXES)}'
        return ''

    def _salvage(self, reason: str) -> list[AnyReader]:
        self.warnings.append(
            f'{self.path}: damaged or not closed properly ({reason}): what is readable is used'
        )
        readers = []
        for file in _storage_files(self.path):
            reader = Salvage(file, _scanner(file))
            reader.open()
            readers.append(reader)
        if not readers:
            raise BagError(f'{self.path}: {reason}')
        return readers

    def _raw(
        self, topics: set[str], start: int | None = None, stop: int | None = None
    ) -> Iterator[tuple[Connection, int, bytes]]:
        last = -1
        try:
            for reader in self._readers:
                for found in _chosen(reader, topics, start, stop):
                    last = found[1] + 0  # SQLite may have stored text
                    yield found
        except Exception as error:  # rosbags raises whatever it meets in a broken file
            for reader in self._salvage(_reason(error)):
                yield from _chosen(reader, topics, max(start or 0, last + 1), stop)

    def _deserialized(self, connection: Connection, data: bytes) -> Any | None:
        try:
            store = self._store(connection)
            read = store.deserialize_ros1 if self._ros1 else store.deserialize_cdr
            return read(data, connection.msgtype)
        except Exception:  # the bytes may be anything
            self.unreadable[connection.topic] += 1
            return None

    def _to_ros2(
        self, connection: Connection, data: bytes, plans: dict[str, object]
    ) -> memoryview:
        """Message of ROS 1 as one of ROS 2: fields differ, such as the header's seq."""
        kind, store = connection.msgtype, self._store(connection)
        return migrate_bytes(
            store, typestore(), kind, kind, plans, data, src_is2=False, dst_is2=True
        )

    def _store(self, connection: Connection) -> Typestore:
        """Types of a connection: from the recording, otherwise those of Jazzy or Noetic."""
        if connection.msgtype not in self._stores:
            known = noetic() if self._ros1 else typestore()
            own = _embedded_types(connection.msgtype, connection.msgdef)
            sound = own is not None and not _contradicts(own, known)
            self._stores[connection.msgtype] = own if sound else known
        return self._stores[connection.msgtype]


def _chosen(
    reader: AnyReader, topics: set[str], start: int | None, stop: int | None
) -> Iterator[tuple[Connection, int, bytes]]:
    chosen = [c for c in reader.connections if c.topic in topics]
    if chosen:
        yield from reader.messages(chosen, start=start, stop=stop)


@lru_cache(maxsize=64)  # what a recording is opened for opens it several times
def _embedded_types(kind: str, definition: MessageDefinition) -> Typestore | None:
    """Types that the recording itself defines; None where it has none or they are broken."""
    form, text = definition
    if len(text) > MOST_TEXT or text.count('\n') > MOST_LINES:
        return None
    types = {}
    try:
        if form == MessageDefinitionFormat.MSG:
            types = get_types_from_msg(text, kind)
        elif form == MessageDefinitionFormat.IDL:
            for part in text.split(IDL_RULE):
                body = part.split('\n', 1)[1] if part.startswith('IDL: ') else part
                types |= get_types_from_idl(body)
        store = get_typestore(Stores.EMPTY)
        store.register(types)
    except Exception:  # rosbags' parser raises whatever it meets, RecursionError too
        return None
    return store if kind in store.fielddefs else None


def _check_index(reader: AnyReader) -> None:
    """Refuse an index whose values have other types than those of a recording.

    Raises:
        ValueError: says so.
    """
    times = reader.start_time, reader.end_time
    sound = all(type(time) is int for time in times) and all(
        type(c.topic) is type(c.msgtype) is str and type(c.msgcount) is int and c.msgcount >= 0
        for c in reader.connections
    )
    if not sound:
        raise ValueError('its index holds what is no topic, number or time')


def _contradicts(own: Typestore, known: Typestore) -> bool:
    """True if a standard type lacks fields in a recording, or has others of their names there."""
    for name in own.fielddefs.keys() & known.fielddefs.keys():
        fields = dict(own.fielddefs[name][1])
        wanted = () if name.startswith(OURS) else known.fielddefs[name][1]
        if any(fields.get(field) != kind for field, kind in wanted):
            return True
    return False


def _reason(error: Exception) -> str:
    """First sentence of an error of rosbags."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip('.') if lines else type(error).__name__
