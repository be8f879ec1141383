"""Drives as a robot's camera sees them, rendered side by side and kept in memory."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch

from page4d_ros.datasets.rendered_plan import RATE_HZ, Group
from page4d_ros.errors import FullRoomError
from page4d_ros.perception.types import Frame
from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.render import Renderer, centred_camera
from page4d_ros.synthetic.room import Room
from page4d_ros.synthetic.scene import Scene
from page4d_ros.synthetic.workers import in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered_plan import Shot
    from page4d_ros.geometry.camera import PinholeCamera

SIZE = 320, 240
FOV_X_DEG = 60.0


class Footage(NamedTuple):
    """Frames of one drive with the truth.

    Attributes:
        group: what it is for; block: which set it belongs to; room: seed of the room.
        seed: of the drive.
        rig: what carries the camera; traffic: how much moves.
        camera: intrinsics.
        stamps: (N,) nanoseconds.
        rgb: (N, H, W, 3) uint8.
        T_world_camera: (N, 4, 4), metres.
        depth: (N, H, W) metres; None for streams.
        mask: (N, H, W) bool, whether it moves; None for streams.
        bodies: (N, H, W) number of the loose body, 0 for the room; None for streams.
        T_world_bodies: (N, B, 4, 4) pose of body i + 1.
    """

    group: Group
    block: int
    room: int
    seed: int
    rig: Rig
    traffic: Traffic
    camera: PinholeCamera
    stamps: NDArray[np.int64]
    rgb: NDArray[np.uint8]
    T_world_camera: NDArray[np.float64]
    depth: NDArray[np.float32] | None = None
    mask: NDArray[np.bool_] | None = None
    bodies: NDArray[np.uint8] | None = None
    T_world_bodies: NDArray[np.float64] | None = None

    @property
    def frames(self) -> list[Frame]:
        """What a camera driver would hand to the perception."""
        return [
            Frame(int(stamp), 'camera', lambda image=image: image, self.camera)
            for stamp, image in zip(self.stamps, self.rgb, strict=True)
        ]


def film(shots: Sequence[Shot], processes: int) -> Iterator[Footage | None]:
    """Render in parallel, in order; None where no drive fits into the room.

    Raises:
        SceneError: nothing can be rendered here.
    """
    return in_parallel(_film, shots, processes)


@lru_cache(maxsize=8)
def _room(seed: int) -> Room:
    return Room.draw(seed)


def _film(shot: Shot) -> Footage | None:
    room = _room(shot.room)
    for seed in shot.seeds:
        rig, traffic = shot.conditions(seed)
        try:
            drive = Drive.draw(room, seed, rig=rig, traffic=traffic, seconds=shot.seconds)
        except FullRoomError:
            continue
        break
    else:
        return None
    times = np.arange(shot.frames) * shot.step / RATE_HZ
    with Renderer(Scene(room, drive), centred_camera(*SIZE, FOV_X_DEG)) as renderer:
        frames = [renderer.frame(t) for t in times]
    footage = Footage(
        shot.group,
        shot.block,
        shot.room,
        seed,
        rig,
        traffic,
        renderer.camera,
        np.array([frame.stamp_ns for frame in frames]),
        np.stack([frame.rgb for frame in frames]),
        np.stack([frame.T_world_camera for frame in frames]),
    )
    if shot.group is Group.STREAM:  # nobody looks at their depth and masks
        return footage
    return footage._replace(
        **{
            name: np.stack([getattr(frame, name) for frame in frames])
            for name in ('depth', 'mask', 'bodies', 'T_world_bodies')
        }
    )


@contextmanager
def spare_cores(renderers: int) -> Iterator[None]:
    """Leave the renderers their cores: threads that share one wait for each other."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    spare = max(1, (os.cpu_count() or 1) - renderers)
    torch.set_num_threads(min(before[0], spare))
    cv2.setNumThreads(min(before[1], spare))
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
