"""Short drives rendered to files for training: one shard per drive.

A shard is a safetensors file with `rgb` (N, H, W, 3) uint8, `depth` (N, H, W) float16 metres along
the optical axis, 0 where unknown, `mask` (N, H, W) uint8, 1 where a pixel shows a body that moves
during the drive, and `T_world_camera` (N, 4, 4) float32, pose of the optical frame. Its metadata
hold one JSON object under `shard`: the intrinsics `fx`, `fy`, `cx`, `cy` in pixels, `rate_hz` and
the origin.
"""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import closing, suppress
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from page4d_ros.errors import FullRoomError, SceneError
from page4d_ros.synthetic.drive import Drive
from page4d_ros.synthetic.options import Rig, ShardFormat, Traffic
from page4d_ros.synthetic.place import FIRST_PLACE, draw_room
from page4d_ros.synthetic.render import Renderer, centred_camera
from page4d_ros.synthetic.scene import Scene
from page4d_ros.synthetic.workers import in_parallel
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.synthetic.room import Room

# First drive seed of each split; splits share no drive.
SPLITS = {'train': 100_000, 'validation': 200_000, 'test': 300_000}
SPLIT_SIZE = 100_000

RIGS = {Rig.HANDHELD: 0.6, Rig.WHEELS: 0.15, Rig.FLIGHT: 0.1, Rig.TRIPOD: 0.15}
PLACE_RIGS = {
    Rig.HANDHELD: 0.4,
    Rig.WHEELS: 0.2,
    Rig.LEGGED: 0.12,
    Rig.FLIGHT: 0.13,
    Rig.TRIPOD: 0.15,
}
TRAFFIC = {Traffic.NONE: 0.15, Traffic.SOME: 0.6, Traffic.MANY: 0.25}
SHADOW_SIZE = 512
LAYOUT = ShardFormat()

# What safetensors, json and conversions of numbers raise for a damaged file.
BROKEN = (
    OSError,
    SafetensorError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    RecursionError,
)


def conditions(
    drive_seed: int, rigs: Mapping[Rig, float] = MappingProxyType(RIGS)
) -> tuple[Rig, Traffic]:
    """Draw rig and traffic of the drive with this seed; `rigs` has the share of each rig."""
    rng = np.random.default_rng([drive_seed, 7])
    rig = rng.choice([rig.value for rig in rigs], p=list(rigs.values()))
    traffic = rng.choice([traffic.value for traffic in TRAFFIC], p=list(TRAFFIC.values()))
    return Rig(str(rig)), Traffic(str(traffic))


def lens(drive_seed: int) -> float:
    """Draw the horizontal field of view of a drive: half common cameras, half any, in degrees."""
    rng = np.random.default_rng([drive_seed, 8])
    return float(rng.choice([rng.normal(71, 3), rng.uniform(55, 120)]))


def save_shard(path: Path, arrays: dict[str, NDArray], facts: dict[str, object]) -> None:
    """Write a shard atomically; its folder is created.

    Args:
        path: file to write or replace.
        arrays: arrays by name.
        facts: JSON values of the metadata.

    Raises:
        SceneError: the file cannot be written, for instance because the disk is full.
    """
    part = _part(path)
    # safetensors writes the memory of an array and ignores its strides
    arrays = {name: np.asarray(array, order='C') for name, array in arrays.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(save(arrays, metadata={'shard': json.dumps(facts)}))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SceneError(f'{path}: cannot be written ({error.strerror})') from error


def recording_shard(folder: Path, name: str, number: int) -> Path:
    """Path of a shard of a recording."""
    return folder / f'{name}_{number:04d}.safetensors'


def recording_shards(folder: Path, name: str) -> list[Path]:
    """Shards of a recording that a folder holds."""
    pattern = re.compile(re.escape(name) + r'_\d{4,}\.safetensors')
    return [path for path in folder.glob('*.safetensors') if pattern.fullmatch(path.name)]


def recording_facts(
    name: str, stamps_ns: Sequence[int], camera: PinholeCamera, **more: object
) -> dict[str, object]:
    """Metadata of a shard of a recording.

    Args:
        name: of the recording.
        stamps_ns: of its frames.
        camera: intrinsics of its images.
        more: further facts.
    """
    return {
        'room_seed': -1,
        'drive_seed': -1,
        'recording': name,
        'stamp_ns': stamps_ns[0],
        'rate_hz': float(NS_PER_S / np.median(np.diff(stamps_ns))),
        'fx': camera.fx,
        'fy': camera.fy,
        'cx': camera.cx,
        'cy': camera.cy,
    } | more


def _part(path: Path) -> Path:
    return path.with_name(path.name + '.part')


def render_shards(
    folder: Path | str,
    *,
    split: str,
    rooms: Sequence[int],
    drives: int,
    layout: ShardFormat = LAYOUT,
    processes: int | None = None,
) -> Iterator[Path]:
    """Render drives of a split in parallel; existing shards are kept.

    Args:
        folder: folder of the files; each split needs its own.
        split: one of SPLITS.
        rooms: seeds of the rooms and places. Rooms share the seeds of their drives; each place
            has its own.
        drives: drives per room. A drive that does not fit into its room is skipped.
        layout: image size and timing; without a field of view each drive has a lens of its own.
        processes: number of parallel renderers; None is one per core.

    Returns:
        Paths of the files as they are completed. Closing the iterator stops the renderers.

    Raises:
        SceneError: impossible arguments; the folder holds shards of another split or layout; or
            rendering or writing failed.
    """
    _check_request(split, rooms, drives, layout)
    folder = Path(folder).expanduser()
    for path in sorted(folder.glob('room*_drive*.safetensors')):
        _check_shard(path, split, layout)
    tasks = []
    for drive in range(drives):
        for room in dict.fromkeys(rooms):
            seed = SPLITS[split] + drive
            if room >= FIRST_PLACE:
                seed += (room - SPLITS[split]) * drives
            path = folder / f'room{room:04d}_drive{seed}.safetensors'
            tasks.append(_Task(path, room, seed, layout))
    return _run(tasks, processes or os.cpu_count() or 1)


def _run(tasks: list[_Task], processes: int) -> Iterator[Path]:
    missing = []
    for task in tasks:
        if task.path.exists():
            yield task.path
        else:
            missing.append(task)
    try:
        with closing(in_parallel(_render, missing, processes)) as paths:
            yield from filter(None, paths)
    finally:
        for task in missing:
            with suppress(OSError):
                _part(task.path).unlink()


def _check_request(split: str, rooms: Sequence[int], drives: int, layout: ShardFormat) -> None:
    if split not in SPLITS:
        raise SceneError(f'no split {split!r}; there are {", ".join(SPLITS)}')
    if not 1 <= drives <= SPLIT_SIZE:
        raise SceneError(f'{drives} drives: a split has from 1 to {SPLIT_SIZE} of them')
    if not rooms or min(rooms) < 0:
        raise SceneError('no rooms and no places; give the seeds of some, from 0 on')
    start, stop = SPLITS[split], SPLITS[split] + SPLIT_SIZE // drives
    if wrong := [r for r in rooms if r >= FIRST_PLACE and not start <= r < stop]:
        raise SceneError(
            f'place {wrong[0]}: {split!r} has those from {start} to {stop - 1}, with {drives} '
            'drives each'
        )
    if min(layout._replace(fov_x_deg=1)) <= 0 or not 0 <= layout.fov_x_deg < 180:
        raise SceneError(f'no shards of {_text(layout)}; take positive sizes')


def _check_shard(path: Path, split: str, layout: ShardFormat) -> None:
    """Check that an existing shard has this split and layout."""
    try:
        with safe_open(path, 'np') as file:
            facts = json.loads((file.metadata() or {})['shard'])
            frames, height, width, _ = file.get_slice('rgb').get_shape()
        seed = facts['drive_seed']
        fov = math.degrees(2 * math.atan(width / 2 / facts['fx']))
        found = ShardFormat(width, height, fov, frames, facts['rate_hz'])
    except BROKEN as error:
        raise SceneError(f'{path}: no shard, or a damaged one ({error}); remove it') from error
    if not SPLITS[split] <= seed < SPLITS[split] + SPLIT_SIZE:
        raise SceneError(f'{path}: no drive of {split!r}; take a folder for each split')
    if not layout.fov_x_deg:
        found = found._replace(fov_x_deg=0.0)
    if not np.allclose(found, layout, rtol=0, atol=1e-6):
        raise SceneError(
            f'{path}: has {_text(found)} instead of {_text(layout)}; take another folder, or these'
        )


def _text(layout: ShardFormat) -> str:
    view = f'{layout.fov_x_deg:g}' if layout.fov_x_deg else 'any'
    return (
        f'{layout.frames} frames of {layout.width}x{layout.height} pixels and '
        f'{view} degrees at {layout.rate_hz:g} Hz'
    )


class _Task(NamedTuple):
    path: Path
    room_seed: int
    drive_seed: int
    layout: ShardFormat


@lru_cache(maxsize=32)
def _room(seed: int) -> Room:
    return draw_room(seed)


def _render(task: _Task) -> Path | None:
    """Render a shard; None if the drive does not fit into the room."""
    layout, room = task.layout, _room(task.room_seed)
    placed = task.room_seed >= FIRST_PLACE
    rig, traffic = conditions(task.drive_seed, PLACE_RIGS if placed else RIGS)
    seconds = layout.frames / layout.rate_hz
    try:
        drive = Drive.draw(room, task.drive_seed, rig=rig, traffic=traffic, seconds=seconds)
    except FullRoomError:
        return None
    fov_x_deg = layout.fov_x_deg or lens(task.drive_seed)
    camera = centred_camera(layout.width, layout.height, fov_x_deg)
    with Renderer(Scene(room, drive, SHADOW_SIZE), camera) as renderer:
        frames = [renderer.frame(index / layout.rate_hz) for index in range(layout.frames)]
    arrays = {
        'rgb': np.stack([frame.rgb for frame in frames]),
        'depth': np.nan_to_num([frame.depth for frame in frames]).astype(np.float16),
        'mask': np.stack([frame.mask for frame in frames]).astype(np.uint8),
        'T_world_camera': np.stack([frame.T_world_camera for frame in frames]).astype(np.float32),
    }
    facts = {
        'room_seed': task.room_seed,
        'drive_seed': task.drive_seed,
        'rig': rig.value,
        'traffic': traffic.value,
        'rate_hz': layout.rate_hz,
        'fx': camera.fx,
        'fy': camera.fy,
        'cx': camera.cx,
        'cy': camera.cy,
    }
    save_shard(task.path, arrays, facts)
    return task.path
