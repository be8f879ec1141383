"""Rendered frames written as recordings with ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.bags import ground_truth
from page4d_ros.bags.writer import BagWriter
from page4d_ros.messages import encode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.truth import GroundTruthFrame


def write_rendered(
    frames: Iterable[GroundTruthFrame],
    path: Path | str,
    T_base_camera: NDArray,
    *,
    compressed: bool = False,
    force: bool = False,
) -> int:
    """Write frames with calibration, mount and ground truth; topics as in `ground_truth`.

    Args:
        frames: in order of time.
        path: folder to make.
        T_base_camera: (4, 4) optical frame to base.
        compressed: images as JPEG on ``/camera/image/compressed``, not raw.
        force: replace a recording that is there.

    Returns:
        Number of frames.

    Raises:
        BagError: the recording cannot be written.
    """
    views = (('', frame) for frame in frames)
    return write_rig(views, path, {'': T_base_camera}, compressed=compressed, force=force)


def write_rig(
    views: Iterable[tuple[str, GroundTruthFrame]],
    path: Path | str,
    T_base_cameras: Mapping[str, NDArray],
    *,
    compressed: bool = False,
    force: bool = False,
) -> int:
    """Write frames of several cameras; topics as in `ground_truth.of_camera`.

    Args:
        views: names of cameras with a frame of each, in order of time.
        path: folder to make.
        T_base_cameras: optical frame to base, (4, 4), of each camera, the main one first; the
            true odometry is by its frames.
        compressed: images as JPEG, not raw.
        force: replace a recording that is there.

    Returns:
        Number of frames.

    Raises:
        BagError: the recording cannot be written.
    """
    count, main = 0, next(iter(T_base_cameras))
    with BagWriter(path, force=force) as writer:
        odometry = ground_truth.GroundTruthOdometry(writer, T_base_cameras[main])
        for name, frame in views:
            if count == 0:
                for each, T in T_base_cameras.items():
                    frame_id = ground_truth.frame_of(each)
                    ground_truth.write_mount(writer, frame.stamp_ns, T, frame_id)
            if name == main:
                odometry.write(frame.stamp_ns, frame.T_world_camera)
            _write_images(writer, name, frame, compressed=compressed)
            count += 1
    return count


def _write_images(
    writer: BagWriter, name: str, frame: GroundTruthFrame, *, compressed: bool
) -> None:
    make, stamp_ns = writer.make, frame.stamp_ns
    head = encode.header(make, stamp_ns, ground_truth.frame_of(name))
    info = encode.camera_info(make, head, frame.camera)
    if compressed:
        image, topic = ground_truth.jpeg(make, head, frame.rgb), ground_truth.IMAGE_COMPRESSED
    else:
        image, topic = encode.image(make, head, frame.rgb), ground_truth.IMAGE
    messages = {
        ground_truth.CAMERA_INFO: info,
        topic: image,
        ground_truth.DEPTH: ground_truth.depth(make, head, frame.depth),
        ground_truth.DEPTH_INFO: info,
        ground_truth.MASK: ground_truth.mask(make, head, frame.mask),
    }
    for plain, message in messages.items():
        writer.write(ground_truth.of_camera(plain, name), stamp_ns, message)
