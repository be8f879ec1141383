"""Destination of a fleet: results that are whole or not there, and who is working on it.

Layout::

    recordings/NAME-KEY/     a result, with its own manifest.json
    manifests/KEY.json       the same manifest, written last: with it the result exists
    parts/                   the same of parts that are not stitched yet: NAME-KEY-partNNN/,
                             KEY.NNN.json
    quarantine/KEY.json      a recording that failed, with reason and log
    runs/RUN.json            progress of a run
    index.parquet, minutes.parquet, report.html
    .partial/                work in progress; local destinations only
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from page4d_ros.fleet.places import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULTS, MANIFESTS, PARTS, QUARANTINE, RUNS = (
    'recordings',
    'manifests',
    'parts',
    'quarantine',
    'runs',
)
MANIFEST = 'manifest.json'
PARTIAL = '.partial'
STALE = 86400.0  # seconds without a change, after which work in progress is given up
BATCH = 500  # files that are read at once


class Store:
    """Results, manifests and quarantine at an address.

    Args:
        address: local folder, or any that fsspec opens.

    Raises:
        FleetError: the address cannot be opened.
    """

    def __init__(self, address: str) -> None:
        self.place = Place.of(address)
        self.fs = self.place.fs

    def _path(self, *names: str) -> str:
        return '/'.join([self.place.path, *names])

    def keys(self, folder: str) -> set[str]:
        """Names of the JSON files in a folder, without their suffix."""
        self.fs.invalidate_cache()
        try:
            names = self.fs.ls(self._path(folder), detail=False)
        except FileNotFoundError:
            return set()
        last = (name.rpartition('/')[2] for name in names)
        return {name.removesuffix('.json') for name in last if name.endswith('.json')}

    def has(self, key: str) -> bool:
        """True if the result of a key exists."""
        self.fs.invalidate_cache()
        return self.fs.exists(self._path(MANIFESTS, f'{key}.json'))

    def read(self, folder: str, key: str) -> dict[str, Any]:
        """Content of one JSON file."""
        return json.loads(self.fs.cat_file(self._path(folder, f'{key}.json')))

    def read_all(self, folder: str) -> Iterator[dict[str, Any]]:
        """Contents of all JSON files of a folder, a batch in memory at a time."""
        keys = sorted(self.keys(folder))
        for begin in range(0, len(keys), BATCH):
            paths = [self._path(folder, f'{key}.json') for key in keys[begin : begin + BATCH]]
            found = self.fs.cat(paths, on_error='omit')  # removed meanwhile
            yield from (json.loads(found[path]) for path in paths if path in found)

    def write(self, name: str, data: bytes) -> None:
        """Write a small file; others see the old one or the new one, and no half."""
        path = self._path(name)
        if not self.place.local:
            self.fs.pipe_file(path, data)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f'.{target.name}.{uuid4().hex}')
        try:
            scratch.write_bytes(data)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)

    def write_json(self, folder: str, key: str, content: dict[str, Any]) -> None:
        """Write one JSON file."""
        self.write(f'{folder}/{key}.json', _text(content))

    def remove(self, folder: str, key: str) -> None:
        """Remove one JSON file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self._path(folder, f'{key}.json'))

    @contextlib.contextmanager
    def scratch(self, run: str) -> Iterator[Path]:
        """Folder to work in, for a run; beside the results where these are on this machine."""
        if not self.place.local:
            with tempfile.TemporaryDirectory(prefix='page4d-') as folder:
                yield Path(folder)
            return
        folder = Path(self._path(PARTIAL, f'{run}-{uuid4().hex[:8]}'))
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, run: str) -> None:
        """Remove work in progress of a run that ends, and what nobody has touched for a day."""
        if not self.place.local:
            return
        for folder in Path(self._path(PARTIAL)).glob('*'):
            with contextlib.suppress(OSError):
                newest = max(path.stat().st_mtime for path in [folder, *folder.rglob('*')])
                if folder.name.startswith(f'{run}-') or time.time() - newest > STALE:
                    shutil.rmtree(folder, ignore_errors=True)

    def publish(
        self, folder: Path, key: str, facts: dict[str, Any], *, part: bool = False
    ) -> None:
        """Make a finished folder the result of a key, unless there is one by now.

        Args:
            folder: with all files, in `scratch`; it is moved or copied.
            key: name of the manifest.
            facts: of the manifest; place and files are added.
            part: the result is that of a part.
        """
        below, manifests = (PARTS, PARTS) if part else (RESULTS, MANIFESTS)
        name = folder.name if self.place.local else f'{folder.name}-{uuid4().hex[:6]}'
        files = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob('*'))
            if path.is_file()
        }
        manifest = {**facts, 'key': key, 'output': f'{below}/{name}', 'files': files}
        (folder / MANIFEST).write_bytes(_text(manifest))
        if self.place.local:
            self.write_json(manifests, key, self._move(folder, f'{below}/{name}'))
            return
        self._upload(folder, f'{below}/{name}')
        try:
            path = self._path(manifests, f'{key}.json')
            self.fs.pipe_file(path, _text(manifest), mode='create')
        except FileExistsError:  # another run was first
            self.fs.rm(self._path(below, name), recursive=True)

    def _move(self, folder: Path, name: str) -> dict[str, Any]:
        """Rename a folder to its place; the manifest of whichever is there afterwards."""
        target = Path(self._path(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(folder, target)  # never replaces a folder with content
        except OSError:
            # a folder that is there is whole: another run renamed it
            if not (target / MANIFEST).exists():
                raise
        return json.loads((target / MANIFEST).read_bytes())

    def _upload(self, folder: Path, name: str) -> None:
        for path in sorted(folder.rglob('*')):
            if path.is_file():
                self.fs.put_file(str(path), self._path(name, path.relative_to(folder).as_posix()))

    def fetch(self, output: str, folder: Path) -> None:
        """Copy a published folder to a folder of this machine."""
        source = self._path(output)
        if self.place.local:
            shutil.copytree(source, folder, copy_function=_linked)
        else:
            self.fs.get(f'{source}/', f'{folder}/', recursive=True)

    def drop_parts(self, key: str, count: int) -> None:
        """Remove the parts of a recording that is stitched."""
        for index in range(count):
            part = f'{key}.{index:03d}'
            with contextlib.suppress(FileNotFoundError):
                output = self.read(PARTS, part)['output']
                self.remove(PARTS, part)
                self.fs.rm(self._path(output), recursive=True)

    def bytes_of(self, name: str) -> bytes:
        """Content of a file; b'' where it is not there."""
        try:
            return self.fs.cat_file(self._path(name))
        except FileNotFoundError:
            return b''


def _text(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode() + b'\n'


def _linked(source: str, target: str) -> str:
    """Hard link to a file, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target
