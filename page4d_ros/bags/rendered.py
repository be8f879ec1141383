"""Rendered frames written as recordings with ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.bags import ground_truth
from page4d_ros.bags.writer import BagWriter
from page4d_ros.messages import encode

if TYPE_CHECKING:
    from collections.abc import Iterable
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
    count = 0
    with BagWriter(path, force=force) as writer:
        odometry = ground_truth.GroundTruthOdometry(writer, T_base_camera)
        for frame in frames:
            if count == 0:
                ground_truth.write_mount(writer, frame.stamp_ns, T_base_camera)
            odometry.write(frame.stamp_ns, frame.T_world_camera)
            _write_images(writer, frame, compressed=compressed)
            count += 1
    return count


def _write_images(writer: BagWriter, frame: GroundTruthFrame, *, compressed: bool) -> None:
    make, stamp_ns = writer.make, frame.stamp_ns
    head = encode.header(make, stamp_ns, ground_truth.CAMERA)
    info = encode.camera_info(make, head, frame.camera)
    writer.write(ground_truth.CAMERA_INFO, stamp_ns, info)
    if compressed:
        image, topic = ground_truth.jpeg(make, head, frame.rgb), ground_truth.IMAGE_COMPRESSED
    else:
        image, topic = encode.image(make, head, frame.rgb), ground_truth.IMAGE
    writer.write(topic, stamp_ns, image)
    writer.write(ground_truth.DEPTH, stamp_ns, ground_truth.depth(make, head, frame.depth))
    writer.write(ground_truth.DEPTH_INFO, stamp_ns, info)
    writer.write(ground_truth.MASK, stamp_ns, ground_truth.mask(make, head, frame.mask))
