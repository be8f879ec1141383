"""Simulated network: windows of true poses, depths and masks, with chosen errors.

Every window comes in a gauge of its own, as those of a network do. `SimulatedEngine` stands where
the perception expects an engine; its truth is a `World`: a data set's `Sequence`, or a function.
"""

from __future__ import annotations

from collections import abc
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.engine import SHORTEST_KEEPING, SequenceEstimate
from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate
from page4d_ros.perception.window import Fits, by_view, first_new
from page4d_ros.truth import patch_shares
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.datasets.sequence import Sequence
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.truth import GroundTruthFrame

TRUE_GAUGE = Sim3.identity()
SCALES = 0.3, 3.0  # of random gauges
CONFIDENCE = 0.8
SCORES = 0.1, 0.9  # of patches in which nothing and everything moves
OBJECT_SPEED = 0.8  # m/s
OBJECT_TURN = 0.3  # rad/s
HONEST = 20


@dataclass(frozen=True)
class Noise:
    """Errors that are added to the simulated windows.

    Attributes:
        position: of every camera in every window, in metres; standard deviation, as all here.
        rotation: of the same, in rad.
        depth: of every pixel's logarithm of depth.
        scale: of the logarithm of a whole frame's depth.
        fooled: share of windows whose poses are those relative to a moving object, after the
            first `HONEST` frames.
    """

    position: float = 0.0
    rotation: float = 0.0
    depth: float = 0.0
    scale: float = 0.0
    fooled: float = 0.0


EXACT = Noise()


class FrameTruth(NamedTuple):
    """Truth about a frame at the network's pixels and patches.

    Attributes:
        T_world_camera: (4, 4), metres.
        camera: intrinsics for the size (h, w).
        depth: (h, w) metres along z; NaN where unknown.
        moving: (h', w') share of each patch that moves; None if unknown.
    """

    T_world_camera: NDArray[np.float64]
    camera: PinholeCamera
    depth: NDArray[np.float32]
    moving: NDArray[np.float32] | None = None


World = abc.Callable[[Frame, ImageTransform, int], FrameTruth]
"""(frame, source image to network image, side of a patch) -> the truth about that frame."""


class SequenceWorld:
    """Truth about the frames of a sequence, read along with them, one in memory at a time.

    Frames may be left out; an earlier frame begins the sequence again.

    Args:
        sequence: its frames need camera, pose and depth.
    """

    def __init__(self, sequence: Sequence) -> None:
        self._sequence = sequence
        self._frames: abc.Iterator[GroundTruthFrame] = iter(())
        self._now: GroundTruthFrame | None = None

    def __call__(self, frame: Frame, fit: ImageTransform, patch: int) -> FrameTruth:
        """Truth about a frame, found by its stamp.

        Raises:
            BagError: the sequence has no such frame, or no camera, pose or depth for it.
        """
        known = self._find(frame.stamp_ns)
        missing = [n for n in ('camera', 'depth') if getattr(known, n) is None]
        missing += [] if known.has_pose else ['pose']
        if missing:
            raise self._error(frame.stamp_ns, f'has no {", ".join(missing)}; simulation needs it')
        return FrameTruth(
            known.T_world_camera,
            fit.camera_to_network(known.camera),
            fit.nearest(known.depth),
            None if known.mask is None else patch_shares(known.mask, fit, patch),
        )

    def _find(self, stamp_ns: int) -> GroundTruthFrame:
        if self._now is None or self._now.stamp_ns > stamp_ns:
            self._frames, self._now = self._sequence.frames(), None
        while self._now is None or self._now.stamp_ns < stamp_ns:
            self._now = next(self._frames, None)
            if self._now is None:
                break
        if self._now is None or self._now.stamp_ns != stamp_ns:
            raise self._error(stamp_ns, 'is not in the sequence')
        return self._now

    def _error(self, stamp_ns: int, problem: str) -> BagError:
        at = f'{stamp_ns / NS_PER_S:.3f} s'
        return BagError(f'{self._sequence.name}: the frame of {at} {problem}')


class _Set(NamedTuple):
    frames: FrameSet
    fits: tuple[ImageTransform, ...]  # one per frame, as all that follows
    images: tuple[Tensor, ...]
    truth: tuple[FrameTruth, ...]

    def only(self, view: int) -> _Set:
        """The set of one view that it has."""
        i = self.frames.views.index(view)
        one = FrameSet(self.frames.stamp_ns, self.frames.frames[i : i + 1])
        return _Set(one, self.fits[i : i + 1], self.images[i : i + 1], self.truth[i : i + 1])


class SimulatedEngine:
    """`Engine` that answers with the truth about a world and chosen errors.

    Args:
        world: the truth.
        size: frame sets per window.
        noise: errors; may be changed between steps.
        seed: of the gauges and the noise.
        gauge: world to gauge, for all windows; None draws a new one for each.
        resolution: width of the simulated network's input in pixels.
        patch_size: side of its patches.

    Attributes:
        unit: units of the last window's gauge per metre.
        sets: frame sets in the window, oldest first.
    """

    name = 'oracle'
    purpose = caution = ''
    trained = True
    device = torch.device('cpu')
    runs_on = 'cpu, simulated'

    def __init__(
        self,
        world: World,
        size: int,
        *,
        noise: Noise = EXACT,
        seed: int = 0,
        gauge: Sim3 | None = None,
        resolution: int = NetworkConfig.img_size,
        patch_size: int = NetworkConfig.patch_size,
    ) -> None:
        self.world, self.size, self.noise, self.gauge = world, size, noise, gauge
        self.resolution, self.patch_size = resolution, patch_size
        self.unit = 1.0
        self._fits = Fits(resolution, patch_size)
        self.sets: list[_Set] = []
        self._rng = np.random.default_rng(seed)
        self._count = 0  # frame sets so far
        self._new = 0  # since the last step

    def clear(self) -> None:
        """Forget all frames."""
        self.sets.clear()
        self._new = 0

    def free(self) -> None:
        """Forget all frames."""
        self.clear()

    def hide(self, motions: abc.Sequence[Motion]) -> None:
        """Do nothing: what moves is known."""

    def push(
        self,
        frames: FrameSet,
        images: abc.Sequence[NDArray[np.uint8]],
        *,
        keep_first: bool = False,
    ) -> None:
        """Put a frame set into the window; see `Engine.push`.

        Raises:
            BagError: the truth about a frame is not known.
        """
        fits, changed = self._fits.update(frames, images)
        pairs = zip(images, fits, strict=True)
        pixels = tuple(image_to_network(image, fit, self.device) for image, fit in pairs)
        entry = self._set(frames, fits, pixels)
        if changed:
            self.clear()
        if len(self.sets) == self.size:
            del self.sets[int(keep_first and self.size > SHORTEST_KEEPING)]
        self.sets.append(entry)
        self._count += 1
        self._new = min(self._new + 1, self.size)

    def step(self, anchor: FrameKey | None = None, *, gram: bool = False) -> WindowEstimate:  # noqa: ARG002
        """Simulated estimate for the frames in the window; see `Engine.step`.

        There are no Gram statistics.
        """
        since = first_new(self.sets, self._new, anchor)
        newest = sum(len(each.truth) for each in self.sets[since:])
        self._new = 0
        return self._disturbed(true_window(self.sets, newest))

    def step_apart(
        self, anchor: FrameKey | None = None, *, gram: bool = False
    ) -> list[WindowEstimate]:
        """Simulated estimates for each view by itself; see `Engine.step_apart`."""
        del gram
        parts = by_view(self.sets, first_new(self.sets, self._new, anchor))
        self._new = 0
        return [self._disturbed(true_window(sets, newest)) for sets, newest in parts]

    def sequence(
        self, frames: abc.Sequence[Frame], fit: ImageTransform, pixels: abc.Sequence[Tensor]
    ) -> SequenceEstimate:
        """Simulated estimate of a whole sequence; see `Engine.sequence`."""
        pairs = zip(frames, pixels, strict=True)
        sets = [self._set(FrameSet.of(frame), [fit], (image,)) for frame, image in pairs]
        return SequenceEstimate(self._disturbed(true_window(sets, len(sets))), None, None)

    def sequence_bytes(self, frames: int, fit: ImageTransform) -> int:  # noqa: ARG002
        """No memory: there is no network."""
        return 0

    def _set(
        self, frames: FrameSet, fits: abc.Sequence[ImageTransform], pixels: tuple[Tensor, ...]
    ) -> _Set:
        pairs = zip(frames.frames, fits, strict=True)
        truth = tuple(self.world(frame, fit, self.patch_size) for frame, fit in pairs)
        return _Set(frames, tuple(fits), pixels, truth)

    def _disturbed(self, window: WindowEstimate) -> WindowEstimate:
        """The window in a gauge of its own, with errors. All figures depend on the order here."""
        noise, rng, T = self.noise, self._rng, window.T_gauge_camera
        if rng.random() < noise.fooled and self._count > HONEST:
            T = self._followed(T, np.array([f.stamp_ns for f in window.frames]) / NS_PER_S)
        gauge = self.gauge or random_gauge(rng)
        self.unit = gauge.scale
        wobble = Rotation.from_rotvec(noise.rotation * rng.normal(size=(len(T), 3)))
        at = T[:, :3, 3] + noise.position * rng.normal(size=(len(T), 3))
        depth = window.depth * gauge.scale
        depth *= np.exp(noise.depth * rng.normal(size=depth.shape))
        depth *= np.exp(noise.scale * rng.normal(size=(len(depth), 1, 1)))
        poses = gauge.apply_to_pose(transform(T[:, :3, :3] @ wobble.as_matrix(), at))
        return replace(window, T_gauge_camera=poses, depth=depth)

    def _followed(self, T_world_camera: NDArray, seconds: NDArray) -> NDArray[np.float64]:
        """Poses seen from an object that moves through the world while the window lasts."""
        ago = seconds - seconds[-1]
        direction = self._rng.normal(size=3)
        velocity = OBJECT_SPEED * direction / np.linalg.norm(direction)
        turn = OBJECT_TURN * self._rng.choice((-1.0, 1.0))
        R = Rotation.from_rotvec(turn * ago[:, None] * (0.0, 0.0, 1.0)).as_matrix()
        return inverse(transform(R, ago[:, None] * velocity)) @ T_world_camera


def random_gauge(rng: np.random.Generator) -> Sim3:
    """World to a gauge with any orientation, shift and unit."""
    turn, shift = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    return Sim3(float(np.exp(rng.uniform(*np.log(SCALES)))), turn, shift)


def true_window(sets: abc.Sequence[_Set], newest: int) -> WindowEstimate:
    """Window without errors in the world's own frame, with depth for its newest frames.

    Unknown depth is the frame's median, with no confidence.
    """
    truth = [each for entry in sets for each in entry.truth]
    depth = np.stack([each.depth for each in truth[-newest:]]).astype(np.float32)
    known = np.isfinite(depth)
    for values, finite in zip(depth, known, strict=True):
        values[~finite] = np.median(values[finite]) if finite.any() else 1.0
    dynamic = None
    if all(each.moving is not None for each in truth):
        low, high = SCORES
        shares = np.stack([each.moving for each in truth])
        dynamic = (low + (high - low) * shares).astype(np.float32)
    return WindowEstimate(
        sets=tuple(entry.frames for entry in sets),
        transforms=tuple(fit for entry in sets for fit in entry.fits),
        images=tuple(image for entry in sets for image in entry.images),
        T_gauge_camera=np.stack([each.T_world_camera for each in truth]),
        cameras=tuple(each.camera for each in truth),
        depth=depth,
        confidence=np.where(known, CONFIDENCE, 0.0).astype(np.float32),
        dynamic=dynamic,
        seconds={'encode': 0.0, 'forward': 0.0},
    )
