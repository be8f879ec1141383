"""Who answers: networks, and answers that cost nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from page4d_ros.evaluation.scenes.answers import Answer, Grid, Truth
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse
from page4d_ros.perception.corners import Corners
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.motion_classifier import DEFAULT
from page4d_ros.perception.pipeline import Perception, with_calibration
from page4d_ros.perception.refinement import refined
from page4d_ros.perception.types import FrameSet
from page4d_ros.window_scores import relative_poses

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.motion_classifier import MotionClassifier
    from page4d_ros.perception.types import Frame


class Path(NamedTuple):
    """Poses of a stream.

    Attributes:
        stamps: (n,) nanoseconds of the frames whose pose is known.
        poses: (n, 4, 4) T_world_camera, in a world and a unit of their own.
    """

    stamps: NDArray[np.int64]
    poses: NDArray[np.float64]


class Method(Protocol):
    """One that answers windows.

    Attributes:
        label: name in the tables.
    """

    label: str

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""


class Tracker(Protocol):
    """One that follows streams; see `Method`."""

    label: str

    def track(self, footage: RenderedSequence) -> Path:
        """Poses of the camera along the stream."""


class Network:
    """A network through the product's own path; every pixel's depth counts, however doubtful.

    Args:
        label: name in the tables.
        engine: holds the network, and the window.
        config: all settings of the perception.
        classifier: turns evidence of motion into a probability, fitted to these weights.
    """

    def __init__(
        self, label: str, engine: Engine, config: Config, classifier: MotionClassifier = DEFAULT
    ) -> None:
        self.label, self.engine, self.config = label, engine, config
        self.classifier = classifier
        self.dynamics = Dynamics(config.mask, classifier)

    def alone(self) -> Network:
        """The same, with poses as the network says them."""
        config = self.config.with_values({'odometry.refine': False})
        return Network(f'{self.label}, unrefined', self.engine, config, self.classifier)

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        self.engine.clear()
        self.dynamics.forget()
        known = list(footage.frames())
        for seen in known:
            self.engine.push(FrameSet.of(seen.frame), [seen.rgb])
        window = self.engine.step(gram=self.dynamics.gram)
        if self.config.odometry.refine:
            corners = Corners()
            for seen in known:
                corners.follow(seen.frame.key, seen.rgb)
            window = refined(with_calibration(window)[0], corners)
        return Answer(
            Grid(window.transforms[-1], self.engine.patch_size),
            depth=window.depth,
            relative=relative_poses(inverse(window.T_gauge_camera)[:, :3]),
            motion=window.dynamic,
            mask=self.dynamics.update(window).mask > 0,
        )

    def track(self, footage: RenderedSequence) -> Path:
        """Poses of the camera along the stream, without frames at which it was lost."""
        frames = (known.frame for known in footage.frames())
        return follow_camera(frames, self.config, self.engine, self.classifier)


def follow_camera(
    frames: Iterable[Frame], config: Config, engine: Engine, classifier: MotionClassifier
) -> Path:
    """Poses of the product's own road, without frames at which it was lost."""
    engine.clear()
    perception = Perception(config, engine, Dynamics(config.mask, classifier))
    known = [
        (frame.stamp_ns, odometry.T_world_camera)
        for frame in frames
        if not (odometry := perception.process(FrameSet.of(frame)).odometry).lost
    ]
    return Path(
        np.array([stamp for stamp, _ in known], np.int64),
        np.array([pose for _, pose in known]).reshape(-1, 4, 4),
    )


class Still:
    """The camera stands still."""

    label = 'identity pose'

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        pairs = len(footage.rgb) * (len(footage.rgb) - 1) // 2
        return Answer(self.grid, relative=np.tile(np.eye(4)[:3], (pairs, 1, 1)))

    def track(self, footage: RenderedSequence) -> Path:
        """Poses of the camera along the stream."""
        return Path(footage.stamps, np.tile(np.eye(4), (len(footage.stamps), 1, 1)))


class AllMoving:
    """Everything moves; its average precision is that of any random order."""

    label = 'everything moves'

    def __init__(self, grid: Grid) -> None:
        self.grid = grid

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        fit, patch = self.grid
        shape = len(footage.rgb), fit.height // patch, fit.width // patch
        mask = np.ones((fit.height, fit.width), bool)
        return Answer(self.grid, motion=np.ones(shape), mask=mask)


class MeanDepth:
    """The mean depth of every pixel over the training's drives, of all rooms or of this one.

    Args:
        grid: whose pixels.
        prior: windows of the training.
        by_room: answer with the mean of the very room, and not at all elsewhere.
    """

    def __init__(self, grid: Grid, prior: Sequence[RenderedSequence], *, by_room: bool) -> None:
        self.grid, self.by_room = grid, by_room
        self.label = 'mean depth, this room' if by_room else 'mean depth, known rooms'
        depths: dict[int | None, list[NDArray]] = {}
        for footage in prior:
            key = footage.room if by_room else None
            depths.setdefault(key, []).append(Truth.of(footage, grid).depth)
        self.means = {key: np.concatenate(maps).mean(0) for key, maps in depths.items()}

    def answer(self, footage: RenderedSequence) -> Answer:
        """Answer for a window."""
        mean = self.means.get(footage.room if self.by_room else None)
        if mean is None:
            return Answer(self.grid)
        return Answer(self.grid, depth=np.repeat(mean[None], len(footage.rgb), 0))


def network_grid(engine: Engine, size: tuple[int, int]) -> Grid:
    """Pixels and patches of an engine's network for a camera of (width, height) pixels."""
    patch = engine.patch_size
    return Grid(ImageTransform.crop(*size, engine.resolution, patch), patch)
