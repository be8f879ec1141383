"""Compiled graphs on disk: found by all that they depend on, whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LIMIT = 8 << 30  # bytes
FACTS = 'facts.json'
CHUNK = 1 << 24  # bytes


def default_folder() -> Path:
    """``$XDG_CACHE_HOME/page4d_ros/graphs``, by default in ``~/.cache``."""
    home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return Path(home) / 'page4d_ros' / 'graphs'


class GraphCache:
    """Folders of files, each under the hash of its key; the longest unused are dropped.

    Args:
        folder: made where it is missing.
        limit: bytes of all entries together; the newest stays whatever its size.
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        self.folder = folder or default_folder()
        self.limit = limit

    def find(self, key: Mapping[str, Any]) -> tuple[Path, dict[str, Any]] | None:
        """Folder and facts of an entry; None without one. A damaged one is removed."""
        path = self._path(key)
        try:
            stored = _read(path)
            sound = stored['key'] == _plain(key) and stored['files'] == _checksums(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            sound = False
        if not sound:
            shutil.rmtree(path, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read
            os.utime(path / FACTS)
        return path, stored['facts']

    def last(self, part: Mapping[str, Any]) -> dict[str, Any] | None:
        """Facts of the entry that was used last, of those whose keys have a part in common."""
        part = _plain(part).items()
        for file in sorted(self.folder.glob(f'*/{FACTS}'), key=_used, reverse=True):
            with contextlib.suppress(OSError, ValueError):
                stored = _read(file.parent)
                if part <= stored['key'].items():
                    return stored['facts']
        return None

    def store(self, key: Mapping[str, Any], write: Callable[[Path], dict[str, Any]]) -> Path:
        """Make an entry; it appears at once, when it is complete.

        Args:
            key: all that the entry depends on.
            write: puts the files into a folder, and returns facts about them.

        Raises:
            OSError: the folder cannot be written.
        """
        path = self._path(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix='.new-', dir=self.folder))
        try:
            facts = write(new)
            stored = {'key': _plain(key), 'files': _checksums(new), 'facts': facts}
            stored['digest'] = _digest(stored)
            (new / FACTS).write_text(json.dumps(stored, indent=2), encoding='utf-8')
            shutil.rmtree(path, ignore_errors=True)
            new.rename(path)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self._prune(path)
        return path

    def _path(self, key: Mapping[str, Any]) -> Path:
        text = json.dumps(_plain(key), sort_keys=True)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:32]

    def _prune(self, newest: Path) -> None:
        entries = sorted(self.folder.glob(f'*/{FACTS}'), key=_used, reverse=True)
        total = _size(newest)
        for path in (entry.parent for entry in entries if entry.parent != newest):
            total += _size(path)
            if total > self.limit:
                shutil.rmtree(path, ignore_errors=True)


def _used(path: Path) -> float:
    return path.stat().st_mtime


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def _plain(key: Mapping[str, Any]) -> dict[str, Any]:
    """The key as it reads from a file."""
    return json.loads(json.dumps(dict(key)))


def _read(folder: Path) -> dict[str, Any]:
    """Key, files and facts of an entry.

    Raises:
        OSError: there are none.
        ValueError: they are not as they were written.
    """
    try:
        stored = json.loads((folder / FACTS).read_text(encoding='utf-8'))
    except RecursionError as error:
        raise ValueError('nested too deep') from error
    if not isinstance(stored, dict) or stored.pop('digest', None) != _digest(stored):
        raise ValueError('damaged')
    return stored


def _digest(stored: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(stored, sort_keys=True).encode()).hexdigest()


def _checksums(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.iterdir() if file.name != FACTS)
    return {file.name: _checksum(file) for file in files}


def _checksum(path: Path) -> str:
    out = hashlib.sha256()
    with path.open('rb') as file:
        while part := file.read(CHUNK):
            out.update(part)
    return out.hexdigest()
