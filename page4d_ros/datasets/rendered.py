"""Rendered sequences: drives through rooms, rendered in parallel and kept in memory."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from page4d_ros.datasets.rendered_plan import RATE_HZ, Group
from page4d_ros.errors import FullRoomError
from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.place import draw_room
from page4d_ros.synthetic.render import Renderer, centred_camera
from page4d_ros.synthetic.scene import Scene
from page4d_ros.synthetic.workers import in_parallel
from page4d_ros.truth import GroundTruthFrame

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence as Indices

    from numpy.typing import NDArray

    from page4d_ros.datasets.rendered_plan import SequencePlan
    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.synthetic.room import Room

SIZE = 320, 240
PIXEL_TRUTH = 'depth', 'mask', 'bodies', 'T_world_bodies'


@dataclass(frozen=True, eq=False)
class RenderedSequence:
    """Rendered frames in memory, as arrays over the whole sequence; a `Sequence`.

    Attributes:
        group: purpose of the sequence.
        block: number of the disjoint set of drives that it belongs to.
        room: seed of the room.
        seed: seed of the drive.
        rig: carrier of the camera.
        traffic: amount of motion.
        camera: intrinsics of all frames.
        stamps: (N,) nanoseconds.
        rgb: (N, H, W, 3) uint8.
        T_world_camera: (N, 4, 4), metres.
        depth: (N, H, W) metres; None for streams.
        mask: (N, H, W) bool, True where the pixel moves; None for streams.
        bodies: (N, H, W) number of the rendered body, 0 for the room; None for streams.
        T_world_bodies: (N, B, 4, 4) pose of body i + 1; None for streams.
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
    max_depth: float = np.inf
    remarks: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Room and drive."""
        return f'room {self.room}, drive {self.seed}'

    @property
    def count(self) -> int:
        """Number of frames."""
        return len(self.stamps)

    def frames(self, indices: Indices[int] | None = None) -> Iterator[GroundTruthFrame]:
        """Frames in order, as views into the arrays; all, or those with these indices."""
        for i in range(self.count) if indices is None else indices:
            truth = {
                name: None if (array := getattr(self, name)) is None else array[i]
                for name in ('T_world_camera', *PIXEL_TRUTH)
            }
            yield GroundTruthFrame(int(self.stamps[i]), self.rgb[i], self.camera, **truth)


def render_sequences(
    plans: Indices[SequencePlan], processes: int
) -> Iterator[RenderedSequence | None]:
    """Render sequences in parallel, in order; None where no drive fits into the room.

    Raises:
        SceneError: nothing can be rendered here.
    """
    return in_parallel(_render, plans, processes)


@lru_cache(maxsize=8)
def _room(seed: int) -> Room:
    return draw_room(seed)


def _render(plan: SequencePlan) -> RenderedSequence | None:
    room = _room(plan.room)
    for seed in plan.seeds:
        rig, traffic = plan.conditions(seed)
        try:
            drive = Drive.draw(room, seed, rig=rig, traffic=traffic, seconds=plan.seconds)
        except FullRoomError:
            continue
        break
    else:
        return None
    times = np.arange(plan.frames) * plan.step / RATE_HZ
    with Renderer(Scene(room, drive), centred_camera(*SIZE, plan.fov_x_deg(seed))) as renderer:
        frames = [renderer.frame(t) for t in times]
    streamed = plan.group is Group.STREAM  # whose depth and masks are not evaluated
    return RenderedSequence(
        plan.group,
        plan.block,
        plan.room,
        seed,
        rig,
        traffic,
        renderer.camera,
        np.array([frame.stamp_ns for frame in frames]),
        np.stack([frame.rgb for frame in frames]),
        np.stack([frame.T_world_camera for frame in frames]),
        **{
            name: np.stack([getattr(frame, name) for frame in frames])
            for name in (() if streamed else PIXEL_TRUTH)
        },
    )


@contextmanager
def spare_cores(renderers: int) -> Iterator[None]:
    """Limit the threads of torch and OpenCV so that renderers keep cores to themselves."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    spare = max(1, (os.cpu_count() or 1) - renderers)
    torch.set_num_threads(min(before[0], spare))
    cv2.setNumThreads(min(before[1], spare))
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
