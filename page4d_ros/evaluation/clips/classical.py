"""Odometry without a network, beside the networks on the same frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2

from page4d_ros.evaluation.clips.measure import pose, posed
from page4d_ros.evaluation.scenes.classical import chain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.sequence import FileSequence


def classical(
    clip: FileSequence, indices: Sequence[int], progress: Callable[[], None]
) -> dict[str, Any] | None:
    """KLT and the essential matrix, told the lengths; None without camera or pose of the first."""
    first = next(clip.frames(indices[:1]))
    if first.camera is None or not posed(first):
        return None
    stamps, truth = [], []

    def frames() -> Iterator[tuple[NDArray, NDArray]]:
        for frame in clip.frames(indices):
            if not posed(frame):
                continue
            stamps.append(frame.stamp_ns)
            truth.append(frame.T_world_camera)
            yield cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2GRAY), frame.T_world_camera
            progress()

    found = list(chain(frames(), first.camera.K))
    known = {
        'estimate': list(zip(stamps, found, strict=True)),
        'truth': list(zip(stamps, truth, strict=True)),
    }
    return {'pose': pose(known, metric=False)[0]}
