"""Pictures of what each source of evidence calls moving, and of a static cloud from above."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from page4d_ros.evaluation.metrics.motion import called_moving
from page4d_ros.evaluation.report.pictures import RED, Picture, jpeg, overlay

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.evaluation.metrics.sequence_motion import MotionErrors
    from page4d_ros.evaluation.report.pictures import Columns
    from page4d_ros.evaluation.result import Measured, Output

PICTURES = 4  # frames
GREY = (120, 130, 145)
PLAN = 360  # pixels of a picture from above
SPREAD = 1.05


class MasksShown(NamedTuple):
    """Pictures of a sequence.

    Attributes:
        columns: frames, each with the mask of every source.
        above: the static cloud from above; () of sequences without true depth.
        share: fraction of the shown pixels that moves.
    """

    columns: Columns
    above: Columns
    share: float


class MaskPictures:
    """Collects some frames of a sequence, with the masks of every source.

    Args:
        errors: takes in the same frames, before.
        first: index of the first frame to show.
        last: of the last.
    """

    def __init__(self, errors: MotionErrors, first: int, last: int) -> None:
        self.errors = errors
        self._picks = set(np.linspace(first, last, PICTURES).round().astype(int))
        self._columns: Columns = []
        self._truth: list[NDArray] = []

    def add(self, output: Output) -> None:
        """Take in the next frame: the image with the true outline, then every source's mask."""
        if self.errors.count - 1 not in self._picks:
            return
        truth, image = self.errors.truth, output.estimate.maps.rgb
        masks = {'truth': np.zeros_like(truth)}
        for source, motion in output.motions.items():
            masks[source] = called_moving(motion.probability, self.errors.config)
        pictures = [
            Picture(name, f'{name}: red moves', jpeg(_large(overlay(image, mask, truth))))
            for name, mask in masks.items()
        ]
        self._truth.append(truth)
        self._columns.append(('', pictures))

    def finish(self, _measured: Measured) -> MasksShown:
        """Draw the cloud."""
        share = float(np.mean(self._truth)) if self._truth else 0.0
        points = self.errors.points
        above = _cloud_from_above(np.concatenate(points)) if points else []
        return MasksShown(self._columns, above, share)


def _large(image: NDArray) -> NDArray:
    scale = max(1, PLAN // image.shape[1])
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)


def _cloud_from_above(points: NDArray) -> Columns:
    """The accumulated static cloud from above, without and with the mask; ghosts are red.

    Args:
        points: (n, 4) x and y, and 1 where the point moves and where it is called moving.
    """
    low, high = np.percentile(points[:, :2], (1, 99), axis=0)
    middle, reach = (low + high) / 2, SPREAD * (high - low).max() / 2
    pixels = ((points[:, :2] - middle) / reach * PLAN / 2 + PLAN / 2).astype(int)
    inside = ((pixels >= 0) & (pixels < PLAN)).all(1)
    out = []
    for label, use in (('without mask', inside), ('with mask', inside & (points[:, 3] == 0))):
        image = np.full((PLAN, PLAN, 3), 255, np.uint8)
        for moving, colour in ((0, GREY), (1, RED)):
            u, v = pixels[use & (points[:, 2] == moving)].T
            image[PLAN - 1 - v, u] = colour
        alt = f'Accumulated static cloud from above, {label}'
        out.append(('', [Picture(label, alt, jpeg(image))]))
    return out
