"""Metrics of motion by source of evidence, along rendered drives and sequences with masks."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.evaluation.metrics.body_speeds import speeds
from page4d_ros.evaluation.metrics.masks import at_network
from page4d_ros.evaluation.metrics.motion import Sequence, called_moving, places_at_rest
from page4d_ros.evaluation.metrics.prediction import Grid, Truth
from page4d_ros.evaluation.metrics.true_windows import TrueWindows
from page4d_ros.evaluation.result import Measured

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.config import Config, MaskConfig
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.evaluation.result import Output

FAST = 2.0  # pixels per frame


class MotionErrors:
    """Errors of each source against true masks at the network's pixels, as ``motion``.

    Args:
        config: of the mask.

    Attributes:
        truth: (h, w) true mask of the newest frame.
        count: frames so far.
        points: of rendered drives; see `DriveMotionErrors`.
    """

    def __init__(self, config: MaskConfig) -> None:
        self.config, self.count = config, 0
        self.truth = np.zeros((0, 0), bool)
        self.points: list[NDArray[np.float32]] = []
        self._sources: dict[str, Sequence] = defaultdict(Sequence)

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        self.truth = at_network(output.frame.mask, output.estimate.transform)
        self._compare(output)
        self.count += 1

    def result(self) -> Measured:
        """A `Sequence` by source."""
        return Measured({'motion': dict(self._sources)})

    def _compare(self, output: Output) -> None:
        for source, motion in output.motions.items():
            called = called_moving(motion.probability, self.config)
            self._sources[source].add(motion.probability, called, self.truth)


class DriveMotionErrors(MotionErrors):
    """The same of a rendered drive, of the frames whose window is full, with flicker and ghosts.

    ``ghosts`` counts what a static cloud would hold without and with the mask: (points on moving
    bodies, all points) of each.

    Args:
        drive: the drive.
        config: of the perception.
        patch: side of the network's patches, pixels.

    Attributes:
        points: of each such frame (n, 4), x and y in the world, 1 where the point moves, and 1
            where it is called moving.
    """

    def __init__(self, drive: RenderedSequence, config: Config, patch: int) -> None:
        super().__init__(config.mask)
        self.drive, self.patch = drive, patch
        self.first = min(config.window.size, drive.count) - 1  # the window is full
        self._known: Truth | None = None
        self._windows: TrueWindows | None = None
        self._before: dict[str, NDArray] = {}

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        fit, index = output.estimate.transform, self.count
        if self._known is None:
            self._known = Truth.of(self.drive, Grid(fit, self.patch))
            self._windows = TrueWindows(self.drive, 2, fit.width, self.patch)
        window = self._windows.add(output.frame)
        self.truth = self._known.mask[index]
        if index >= self.first:
            self._compare(output)
            at, still = places_at_rest(window, self.truth, self._known.mask[index - 1])
            for source, motion in output.motions.items():
                before = self._before[source]
                self._sources[source].compare(motion.probability, before, at, still)
            self._place(output)
        self._before = {source: m.probability for source, m in output.motions.items()}
        self.count += 1

    def result(self) -> Measured:
        """A `Sequence` by source, and ghosts."""
        _, _, moving, called = np.concatenate(self.points).T > 0
        uses = np.ones_like(called), ~called
        counts = np.array([[(moving & use).sum(), use.sum()] for use in uses], float)
        return super().result() | Measured({'ghosts': counts})

    def _place(self, output: Output) -> None:
        estimate = output.estimate
        known = estimate.maps.known
        camera = estimate.transform.camera_to_network(self.drive.camera)
        T = output.frame.T_world_camera
        points = camera.unproject(self._known.depth[self.count])[known] @ T[:3, :3].T + T[:3, 3]
        facts = points[:, :2], self.truth[known], estimate.mask[known] > 0
        self.points.append(np.column_stack(facts).astype(np.float32))


class FastMotionErrors(MotionErrors):
    """The same at the camera's pixels of a rendered drive, on bodies that move fast enough.

    Args:
        drive: the drive.
        config: of the mask.
        window: frames of a full window, before which nothing counts.
    """

    def __init__(self, drive: RenderedSequence, config: MaskConfig, window: int) -> None:
        super().__init__(config)
        self.drive, self.first = drive, min(window, drive.count) - 1

    def add(self, output: Output) -> None:
        """Take in the next frame."""
        if self.count >= self.first:
            moving = output.frame.mask
            fast = moving & (speeds(self.drive, self.count)[output.frame.bodies] > FAST)
            for source, motion in output.motions.items():
                scored = self._sources[source]
                scored.add(motion.probability, motion.mask > 0, fast, ~moving | fast)
        self.count += 1
