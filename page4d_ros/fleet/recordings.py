"""Recordings of a fleet: found in folders, globs, lists and indices, with their state."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from page4d_ros.bags.images import IMAGE_SUFFIXES, OTHER_KINDS
from page4d_ros.bags.reader import METADATA, STORAGE_SUFFIXES
from page4d_ros.errors import FleetError
from page4d_ros.fleet.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VIDEOS = {'.mp4', '.mkv', '.avi', '.mov', '.webm', '.m4v'}
ALONE = VIDEOS | set(STORAGE_SUFFIXES) | {'.bag'}  # a file that is a recording by itself
LISTS = {'.txt', '.csv', '.parquet'}
COLUMNS = ('recording', 'address', 'uri', 'url', 'path')  # of an index
MISSING = 'missing'
CHUNK = 1 << 22
THREADS = 32  # that ask for single files at once


class Recording(NamedTuple):
    """A recording as it lies there.

    Attributes:
        address: local path, or address with a protocol.
        size: bytes of all its files.
        state: digest of names, sizes and times (or entity tags) of its files.
    """

    address: str
    size: int
    state: str

    @property
    def name(self) -> str:
        """Short name for folders: letters, digits and ``._-`` of the last part of the address."""
        last = PurePosixPath(self.address).name
        plain = last if '.' not in last else PurePosixPath(last).stem
        return re.sub(r'[^\w.-]+', '_', plain, flags=re.ASCII)[:80] or 'recording'


def list_recordings(sources: Iterable[str], without: str = '') -> Iterator[Recording]:
    """Recordings of all sources, each once.

    Args:
        sources: addresses of folders, globs, recordings, or lists: a text file with an address
            a line, CSV or Parquet with one of `COLUMNS`.
        without: address of a folder that is left out.

    Raises:
        FleetError: a source is not there, or a list has no such column.
        OSError: a file system fails.
    """
    out = Place.of(without).path if without else None
    seen: set[str] = set()
    for source in sources:
        for recording in _of_source(source, out):
            if recording.address not in seen:
                seen.add(recording.address)
                yield recording


def _of_source(source: str, out: str | None) -> Iterator[Recording]:
    place = Place.of(source)
    if any(c in place.path for c in '*?['):
        found = sorted(place.fs.glob(place.path))
        if not found:
            raise FleetError(f'{source}: matches nothing')
        for path in found:
            yield from _of_place(Place(place.fs, path), out)
        return
    if not place.fs.exists(place.path):
        raise FleetError(f'{source}: no such file or folder')
    if PurePosixPath(place.path).suffix.lower() in LISTS and place.fs.isfile(place.path):
        with ThreadPoolExecutor(THREADS) as threads:
            for found in threads.map(_listed, _addresses(place)):
                yield from found
        return
    yield from _of_place(place, out)


def _listed(address: str) -> list[Recording]:
    """Recordings at an address of a list; one that is not there fails later, by its name."""
    place = Place.of(address)
    if not place.fs.exists(place.path):
        return [Recording(place.address, 0, MISSING)]
    return list(_of_place(place, None))


def _of_place(place: Place, out: str | None) -> Iterator[Recording]:
    if place.fs.isfile(place.path):
        yield _recording(place, [place.fs.info(place.path)])
        return
    files = sorted(_files(place), key=lambda info: info['name'])
    yield from _grouped(place, files, out)


def _files(place: Place) -> Iterator[dict[str, Any]]:
    """Files below a folder, also those behind links to folders."""
    for info in place.fs.find(place.path, detail=True).values():
        if not info.get('islink') or not place.fs.isdir(info['name']):
            yield info
        elif not Path(info['name']).is_relative_to(Path(info['name']).resolve()):
            yield from _files(Place(place.fs, info['name']))


def _grouped(place: Place, files: list[dict[str, Any]], out: str | None) -> Iterator[Recording]:
    """Recordings among the files of a folder.

    A folder with metadata.yaml is one of rosbag2, with all that is below it; one with images is a
    recording, too, unless its name says that no camera took them; other files count alone.
    """
    bags = {_parent(info) for info in files if info['name'].endswith(f'/{METADATA}')}
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for info in files:
        name = info['name']
        if out is not None and name.startswith(f'{out}/'):
            continue
        owner = _owner(PurePosixPath(name), bags)
        if owner is not None:
            groups[owner].append(info)
    for owner, members in groups.items():
        yield _recording(Place(place.fs, owner), members)


def _owner(path: PurePosixPath, bags: set[str]) -> str | None:
    """Path of the recording that a file belongs to; None for none."""
    for folder in path.parents:
        if str(folder) in bags:
            return str(folder)
    suffix = path.suffix.lower()
    if suffix in ALONE:
        return str(path)
    if suffix in IMAGE_SUFFIXES and not OTHER_KINDS.keys() & _words(path.parent.name):
        return str(path.parent)
    return None


def _words(name: str) -> set[str]:
    return set(re.split(r'[^a-z]+', name.lower()))


def _parent(info: dict[str, Any]) -> str:
    return info['name'].rpartition('/')[0]


def _recording(place: Place, files: list[dict[str, Any]]) -> Recording:
    digest = hashlib.sha256()
    for info in files:
        name = info['name'].removeprefix(place.path)
        digest.update(f'{name}\0{info.get("size")}\0{_version(info)}\0'.encode())
    size = sum(info.get('size') or 0 for info in files)
    return Recording(place.address, size, digest.hexdigest())


def _version(info: dict[str, Any]) -> str:
    """Text that changes with a file: its entity tag, or its time."""
    for name in ('ETag', 'etag', 'md5Hash', 'content_md5', 'mtime', 'LastModified', 'updated'):
        if info.get(name):
            return str(info[name])
    return ''


def content(address: str) -> str:
    """SHA-256 of all bytes of a recording, and of the names of its files.

    Raises:
        OSError: they cannot be read.
    """
    place, digest = Place.of(address), hashlib.sha256()
    for path in sorted(place.fs.find(place.path)):
        digest.update(path.removeprefix(place.path).encode() + b'\0')
        with place.fs.open(path, 'rb') as file:
            while part := file.read(CHUNK):
                digest.update(part)
    return digest.hexdigest()


def _addresses(place: Place) -> list[str]:
    """Addresses in a list or an index; relative ones are beside it."""
    suffix = PurePosixPath(place.path).suffix.lower()
    if suffix == '.txt':
        lines = place.fs.cat_file(place.path).decode('utf-8', 'replace').splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.startswith('#')]
    elif suffix == '.csv':
        text = place.fs.cat_file(place.path).decode('utf-8', 'replace')
        rows = list(csv.DictReader(io.StringIO(text)))
        column = _column(place, list(rows[0]) if rows else [])
        found = [row[column] for row in rows if row[column]]
    else:
        import pyarrow.parquet as pq

        with place.fs.open(place.path, 'rb') as file:
            table = pq.ParquetFile(file)
            column = _column(place, table.schema_arrow.names)
            found = table.read([column])[column].to_pylist()
    beside = Place(place.fs, place.path.rpartition('/')[0])
    return [
        text if '://' in text or text.startswith(('/', '~')) else (beside / text).address
        for text in map(str, found)
    ]


def _column(place: Place, names: list[str]) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise FleetError(
        f'{place.address}: has no column of addresses ({", ".join(COLUMNS)}), only '
        f'{", ".join(names) or "nothing"}'
    )
