"""Recordings out: rosbag2 folders with MCAP inside, as ``ros2 bag``, RViz and Foxglove read."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from page4d_ros.bags.factory import BagMessages, typestore
from page4d_ros.errors import BagError
from page4d_ros.messages.topics import OUTPUTS
from page4d_ros.messages.trajectory import SUFFIXES

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

# Humble reads it and Jazzy does; from 9 on QoS is written in a way that Humble cannot parse.
METADATA_VERSION = 8
DEFAULT_DEPTH = 10
TF_DEPTH = 100
TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
STORAGE = {'.mcap', '.db3'}
OURS = STORAGE | {'.yaml', '.ply', '.pcd', *SUFFIXES}


def offered_qos(topic: str) -> Qos:
    """QoS that players offer for a topic: reliable, and latched for /tf_static."""
    depth = next((t.depth for t in OUTPUTS if topic.endswith('/' + _leaf(t.name))), DEFAULT_DEPTH)
    latched = topic == '/tf_static'
    if latched or topic == '/tf':
        depth = 1 if latched else TF_DEPTH
    unset = QosTime(0, 0)
    return Qos(
        history=QosHistory.KEEP_LAST,
        depth=depth,
        reliability=QosReliability.RELIABLE,
        durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        deadline=unset,
        lifespan=unset,
        liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=unset,
        avoid_ros_namespace_conventions=False,
    )


def _leaf(name: str) -> str:
    return name.removeprefix('~/')


class BagWriter:
    """Writes a rosbag2 folder; a context manager that closes it whatever happens.

    Args:
        path: folder to make.
        force: replace a recording that is there.

    Raises:
        BagError: the folder exists, or cannot be written.
    """

    def __init__(self, path: Path | str, *, force: bool = False) -> None:
        self.path = Path(path).expanduser()
        self.make = BagMessages()
        self._connections: dict[str, Connection] = {}
        check_output(self.path, force=force)
        try:
            if self.path.exists():
                shutil.rmtree(self.path)
            self._writer = Writer(
                self.path, version=METADATA_VERSION, storage_plugin=StoragePlugin.MCAP
            )
            # chunks of the MCAP file; rosbag2's own compression modes hide it from other tools
            self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except OSError as error:
            raise BagError(f'{self.path}: cannot be written: {error.strerror}') from error

    def __enter__(self) -> BagWriter:
        """Give the writer itself."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """Close, so that what was written can be read; leave nothing where an error came first."""
        self.close()
        if error is not None and issubclass(error, Exception) and not self._connections:
            shutil.rmtree(self.path)

    def close(self) -> None:
        """Write index and metadata.

        Raises:
            BagError: they cannot be written.
        """
        try:
            self._writer.close()
        except OSError as error:
            raise BagError(f'{self.path}: cannot be closed: {error.strerror}') from error

    def write(self, topic: str, stamp_ns: int, message: Any) -> None:
        """Write a message of `make` under its stamp.

        Raises:
            BagError: it cannot be written.
        """
        kind = message.__msgtype__
        self.write_serialized(topic, kind, stamp_ns, typestore().serialize_cdr(message, kind))

    def write_transform(self, topic: str, stamp_ns: int, transform: Any) -> None:
        """Write a geometry_msgs/TransformStamped to /tf or /tf_static.

        Raises:
            BagError: it cannot be written.
        """
        self.write(topic, stamp_ns, self.make(TF_MESSAGE, transforms=[transform]))

    def write_serialized(
        self, topic: str, kind: str, stamp_ns: int, data: bytes | memoryview
    ) -> None:
        """Write a message of type ``package/msg/Name`` that is in CDR already.

        Raises:
            BagError: its type is not known, or it cannot be written.
        """
        if topic not in self._connections:
            if kind not in typestore().fielddefs:
                raise BagError(f'{topic}: the type {kind} is not known, so it cannot be recorded')
            self._connections[topic] = self._writer.add_connection(
                topic, kind, typestore=typestore(), offered_qos_profiles=[offered_qos(topic)]
            )
        try:
            self._writer.write(self._connections[topic], stamp_ns, data)
        except OSError as error:
            raise BagError(f'{self.path}: cannot be written: {error.strerror}') from error


def check_output(path: Path, *, force: bool) -> None:
    """See that a recording may be written here.

    Raises:
        BagError: something is there that may not, or should not be replaced.
    """
    if not path.exists():
        return
    if not force:
        raise BagError(f'{path}: exists already; choose another name, or --force to replace it')
    inside = {entry.suffix for entry in path.iterdir()} if path.is_dir() else {''}
    if inside - OURS or (inside and not inside & STORAGE):
        raise BagError(f'{path}: is no recording, and is not replaced; choose another name')
