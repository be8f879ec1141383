"""Addresses of files and folders: local paths, or any that fsspec opens."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fsspec.core import url_to_fs

from page4d_ros.errors import FleetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fsspec import AbstractFileSystem

LOCAL = 'file'


class Place(NamedTuple):
    """A file system and a path in it."""

    fs: AbstractFileSystem
    path: str

    @classmethod
    def of(cls, address: str) -> Place:
        """Place of a local path, or of an address such as ``s3://bucket/folder``.

        Raises:
            FleetError: the protocol is not known, or its library is not installed.
        """
        if '://' not in address:
            address = str(Path(address).expanduser().absolute())
        try:
            fs, path = url_to_fs(address)
        except (ImportError, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise FleetError(
                f'{address}: cannot be opened ({reason}); s3:// needs s3fs, gs:// gcsfs, sftp:// '
                'paramiko, installed by pip'
            ) from error
        return cls(fs, path.rstrip('/'))

    @property
    def local(self) -> bool:
        """True for a path of this machine."""
        return LOCAL in (
            [self.fs.protocol] if isinstance(self.fs.protocol, str) else self.fs.protocol
        )

    def __truediv__(self, name: str) -> Place:
        """Place below this one."""
        return Place(self.fs, f'{self.path}/{name}')

    @property
    def address(self) -> str:
        """Address that `of` understands."""
        return self.path if self.local else self.fs.unstrip_protocol(self.path)


@contextlib.contextmanager
def local_copy(address: str) -> Iterator[Path]:
    """Path of a file or folder on this machine; what lies elsewhere is copied for the while.

    Raises:
        OSError: it cannot be copied.
        FleetError: the protocol is not known.
    """
    place = Place.of(address)
    if place.local:
        yield Path(place.path)
        return
    with tempfile.TemporaryDirectory(prefix='page4d-') as folder:
        target = Path(folder) / place.path.rpartition('/')[2]
        if place.fs.isdir(place.path):
            place.fs.get(f'{place.path}/', f'{target}/', recursive=True)
        else:
            place.fs.get_file(place.path, str(target))
        yield target
