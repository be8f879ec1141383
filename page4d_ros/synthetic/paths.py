"""Smooth paths in closed form, which can be evaluated at any time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Height of the camera above the floor on the robot that carries it, metres.
CAMERA_HEIGHT = 1.2


class Wobble(NamedTuple):
    """Band-limited noise of several channels: sines with random frequencies and phases.

    Attributes:
        amplitude: (C,) standard deviation of each channel.
        frequency: (C, K) hertz.
        phase: (C, K) radians.
    """

    amplitude: NDArray[np.float64]
    frequency: NDArray[np.float64]
    phase: NDArray[np.float64]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, amplitude: tuple[float, ...], band: tuple[float, float]
    ) -> Wobble:
        """Draw four sines for each channel, with frequencies in `band` hertz."""
        shape = (len(amplitude), 4)
        return cls(
            np.array(amplitude), rng.uniform(*band, shape), rng.uniform(0, 2 * np.pi, shape)
        )

    def at(self, t: float | NDArray) -> NDArray[np.float64]:
        """Evaluate every channel at times t (...) in seconds, (..., C)."""
        turns = self.frequency * np.asarray(t)[..., None, None]
        waves = np.sin(2 * np.pi * turns + self.phase)
        return self.amplitude * waves.sum(-1) * np.sqrt(2 / waves.shape[-1])


class Ground(NamedTuple):
    """Position and heading of a body on the floor, at times of any shape (...).

    Attributes:
        xy: (..., 2) metres.
        heading: (...) radians.
        travelled: (...) signed metres along the track.
    """

    xy: NDArray[np.float64]
    heading: NDArray[np.float64]
    travelled: NDArray[np.float64]


def direction(angle: float | NDArray) -> NDArray[np.float64]:
    """Unit vectors (..., 2) at an angle (...) in radians from x to y."""
    return np.stack([np.cos(angle), np.sin(angle)], -1)


@dataclass(frozen=True)
class Loop:
    """Ellipse traversed at a constant speed.

    Attributes:
        centre: (x, y) metres.
        axes: half axes in metres.
        turn: angle of the first axis in radians.
        speed: metres per second; negative is clockwise.
        start: metres along the ellipse at time zero.
    """

    centre: tuple[float, float]
    axes: tuple[float, float]
    turn: float
    speed: float
    start: float

    @cached_property
    def _arc(self) -> tuple[NDArray, NDArray]:
        """Angles of the ellipse and the arc length up to each."""
        angle = np.linspace(0, 2 * np.pi, 721)
        points = np.stack([self.axes[0] * np.cos(angle), self.axes[1] * np.sin(angle)], -1)
        step = np.linalg.norm(np.diff(points, axis=0), axis=1)
        return angle, np.concatenate([[0], np.cumsum(step)])

    def at(self, t: float | NDArray) -> Ground:
        """Position and heading at times t in seconds."""
        angle, arc = self._arc
        travelled = self.speed * np.asarray(t)
        a = np.interp((self.start + travelled) % arc[-1], arc, angle)
        turn = np.stack([direction(self.turn), direction(self.turn + np.pi / 2)])  # rows: axes
        tangent = direction(a + np.pi / 2) * self.axes @ turn * np.sign(self.speed)
        return Ground(
            direction(a) * self.axes @ turn + self.centre,
            np.arctan2(tangent[..., 1], tangent[..., 0]),
            np.abs(travelled),
        )


@dataclass(frozen=True)
class Shuttle:
    """Straight line traversed back and forth with sinusoidal speed.

    Attributes:
        centre: (x, y) metres.
        heading: direction in radians.
        reach: metres to either side of the centre.
        period: seconds for both ways.
        phase: radians at time zero.
    """

    centre: tuple[float, float]
    heading: float
    reach: float
    period: float
    phase: float

    def at(self, t: float | NDArray) -> Ground:
        """Position and (constant) heading at times t in seconds."""
        travelled = self.reach * np.sin(2 * np.pi * np.asarray(t) / self.period + self.phase)
        xy = travelled[..., None] * direction(self.heading) + self.centre
        return Ground(xy, np.full_like(travelled, self.heading), travelled)


@dataclass(frozen=True)
class CameraPath:
    """Camera on an arc around the region of activity, at which it looks.

    Attributes:
        focus: (x, y, z) metres, mean of the point that the camera looks at.
        angle: direction from the focus to the middle of the arc, in radians.
        sweep: half the arc in radians.
        radius: mean distance from the focus in metres.
        period: seconds along the arc and back.
        phase: radians at time zero.
        sway: slow variation of (radius, height, gaze x, gaze y, gaze z) in metres.
        shake: tremor, translation x, y, z in metres and rotation vector in radians.
        height: mean height above the floor in metres.
    """

    focus: tuple[float, float, float]
    angle: float
    sweep: float
    radius: float
    period: float
    phase: float
    sway: Wobble
    shake: Wobble
    height: float = CAMERA_HEIGHT

    def position(self, t: float | NDArray) -> NDArray[np.float64]:
        """Positions in the world at times t (...) in seconds, (..., 3) metres."""
        t = np.asarray(t)
        radius, height = np.moveaxis(self.sway.at(t)[..., :2], -1, 0)
        swing = np.sin(2 * np.pi * t / self.period + self.phase)
        xy = (self.radius + radius)[..., None] * direction(self.angle + self.sweep * swing)
        carried = np.concatenate([xy + self.focus[:2], (self.height + height)[..., None]], -1)
        return carried + self.shake.at(t)[..., :3]

    def at(self, t: float) -> NDArray[np.float64]:
        """Pose T_world_camera of the optical frame (x right, y down, z forward), (4, 4)."""
        position = self.position(t)
        forward = np.asarray(self.focus) + self.sway.at(t)[2:] - position
        return _look(position, forward, self.shake.at(t)[3:])


@dataclass(frozen=True)
class WheeledPath:
    """Camera on a wheeled robot, looking in the direction of travel.

    Attributes:
        track: path of the robot.
        gaze: slow variation of (yaw, pitch) in radians about straight ahead.
        tilt: mean pitch in radians, positive looks down.
        shake: vibration, translation x, y, z in metres and rotation vector in radians.
    """

    AHEAD: ClassVar[float] = 2.3  # metres to the focus
    track: Loop
    gaze: Wobble
    tilt: float
    shake: Wobble

    @property
    def focus(self) -> tuple[float, float, float]:
        """Point that the camera looks at in the beginning, (x, y, z) metres."""
        ground = self.track.at(0.0)
        return (*(ground.xy + self.AHEAD * direction(ground.heading)), CAMERA_HEIGHT)

    @property
    def angle(self) -> float:
        """Direction from the focus to the camera in the beginning, in radians."""
        return float(self.track.at(0.0).heading) + np.pi

    def position(self, t: float | NDArray) -> NDArray[np.float64]:
        """Positions in the world at times t (...) in seconds, (..., 3) metres."""
        xy = self.track.at(t).xy
        height = np.full((*xy.shape[:-1], 1), CAMERA_HEIGHT)
        return np.concatenate([xy, height], -1) + self.shake.at(t)[..., :3]

    def at(self, t: float) -> NDArray[np.float64]:
        """Pose T_world_camera of the optical frame (x right, y down, z forward), (4, 4)."""
        yaw, pitch = self.gaze.at(t) + np.array([self.track.at(t).heading, self.tilt])
        forward = np.array([*direction(yaw), -np.tan(pitch)])
        return _look(self.position(t), forward, self.shake.at(t)[3:])


@dataclass(frozen=True)
class Ride:
    """Camera on a winding way over the floor, there and back, that looks anywhere.

    Attributes:
        start: (x, y) metres of the middle of the way.
        heading: direction of the way there, in radians.
        curve: curvature, radians per metre.
        reach: metres to either side of the middle.
        period: seconds there and back.
        phase: radians at time zero.
        yaw: gaze relative to the heading, in radians.
        tilt: mean pitch in radians, positive looks down.
        gaze: slow variation of (yaw, pitch) in radians and of height in metres.
        shake: tremor, translation x, y, z in metres and rotation vector in radians.
        height: mean height above the floor in metres.
    """

    start: tuple[float, float]
    heading: float
    curve: float
    reach: float
    period: float
    phase: float
    yaw: float
    tilt: float
    gaze: Wobble
    shake: Wobble
    height: float

    def _way(self, t: float | NDArray) -> tuple[NDArray, NDArray]:
        """Position (..., 2) and heading (...) on the floor, an arc of a circle."""
        swing = np.sin(2 * np.pi * np.asarray(t) / self.period + self.phase)
        turned = self.curve * self.reach * swing
        chord = self.reach * swing * np.sinc(turned / (2 * np.pi))
        xy = chord[..., None] * direction(self.heading + turned / 2) + self.start
        return xy, self.heading + turned

    def position(self, t: float | NDArray) -> NDArray[np.float64]:
        """Positions in the world at times t (...) in seconds, (..., 3) metres."""
        xy, _ = self._way(t)
        height = self.height + self.gaze.at(t)[..., 2:]
        return np.concatenate([xy, height], -1) + self.shake.at(t)[..., :3]

    def at(self, t: float) -> NDArray[np.float64]:
        """Pose T_world_camera of the optical frame (x right, y down, z forward), (4, 4)."""
        gaze = self.gaze.at(t)
        yaw = self._way(t)[1] + self.yaw + gaze[0]
        forward = np.array([*direction(yaw), -np.tan(np.clip(self.tilt + gaze[1], -1.4, 1.4))])
        return _look(self.position(t), forward, self.shake.at(t)[3:])


@dataclass(frozen=True)
class Pausing:
    """Track that stops for a while.

    Attributes:
        track: track without the stop.
        since: seconds from which on the body rests.
        until: seconds at which it goes on.
    """

    track: Loop | Shuttle | Turning
    since: float
    until: float

    def at(self, t: float | NDArray) -> Ground:
        """Position, heading and distance at times t in seconds."""
        rested = np.clip(np.asarray(t) - self.since, 0, self.until - self.since)
        return self.track.at(t - rested)


@dataclass(frozen=True)
class Turning:
    """Track of a body that turns on the spot: (x, y) metres, heading, radians per second."""

    xy: tuple[float, float]
    heading: float
    rate: float

    def at(self, t: float | NDArray) -> Ground:
        """Position and heading at times t in seconds."""
        zero = np.zeros_like(t, float)
        return Ground(zero[..., None] + self.xy, self.heading + self.rate * np.asarray(t), zero)


def _look(position: NDArray, forward: NDArray, turn: NDArray) -> NDArray[np.float64]:
    """Level pose of the optical frame along `forward`, then turned by a rotation vector."""
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0, 0, 1))
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    level = np.stack([right, np.cross(forward, right), forward], -1)
    pose[:3, :3] = level @ Rotation.from_rotvec(turn).as_matrix()
    pose[:3, 3] = position
    return pose
