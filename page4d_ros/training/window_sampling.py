"""Training windows: frames of shards, rotated, zoomed and augmented at random.

The batch of a step depends on the seed and the number of the step only.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from glob import glob
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from scipy.spatial.transform import Rotation
from torch.utils.data import Dataset

from page4d_ros.errors import TrainingError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.synthetic.render import centred_camera
from page4d_ros.synthetic.shards import BROKEN
from page4d_ros.training.augmentation import augment
from page4d_ros.training.batch import Batch
from page4d_ros.training.recipe import DataConfig
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S


@dataclass(frozen=True)
class Shard:
    """One drive on disk; `page4d_ros.synthetic.shards` describes the format.

    Attributes:
        path: the file.
        frames: number of frames.
        camera: intrinsics of the frames.
        rate_hz: frames per second.
        room_seed: seed of the rendered room; -1 for a recording.
        masked: True if the shard holds motion masks.
        weighted: True if it holds a teacher's labels, and how sure of them the teacher was.
        taught: recording and teacher of such labels; "" for truth.
    """

    path: Path
    frames: int
    camera: PinholeCamera
    rate_hz: float
    room_seed: int
    masked: bool = True
    weighted: bool = False
    taught: str = ''

    @classmethod
    def open(cls, path: Path) -> Shard:
        """Open a file and read all but the pixels.

        Raises:
            TrainingError: the file is damaged or not a shard.
        """
        try:
            with safe_open(path, 'np') as file:
                facts = json.loads((file.metadata() or {})['shard'])
                shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            frames, height, width, _ = shapes['rgb']
            fx, fy, cx, cy = (float(facts[name]) for name in ('fx', 'fy', 'cx', 'cy'))
            room_seed, rate_hz = int(facts['room_seed']), float(facts['rate_hz'])
            wanted = {'depth': (frames, height, width), 'T_world_camera': (frames, 4, 4)}
            masked = 'mask' in shapes
            wanted |= {'mask': (frames, height, width)} if masked else {}
            weighted = 'depth_weight' in shapes
            if weighted:
                wanted |= dict.fromkeys(('depth_weight', 'mask_weight'), (frames, height, width))
                wanted['pose_weight'] = (frames,)
            wrong = [name for name, shape in wanted.items() if shapes.get(name) != shape]
        except BROKEN as error:
            raise TrainingError(f'{path}: not a shard of a drive, or damaged ({error})') from error
        if not all(0 < number < math.inf for number in (fx, fy, rate_hz)):
            raise TrainingError(
                f'{path}: a damaged shard; focal lengths {fx}, {fy}, {rate_hz} frames per second'
            )
        if wrong:
            raise TrainingError(
                f'{path}: a damaged shard; {", ".join(wrong)} do not fit {frames} frames of '
                f'{width}x{height} pixels'
            )
        camera = PinholeCamera(width, height, fx, fy, cx, cy)
        taught = str(facts.get('taught', ''))
        return cls(path, frames, camera, rate_hz, room_seed, masked, weighted, taught)

    @property
    def fov_x_deg(self) -> float:
        """Horizontal field of view of the frames, in degrees."""
        return math.degrees(2 * math.atan(self.camera.width / 2 / self.camera.fx))

    def read(self, indices: NDArray) -> list[GroundTruthFrame]:
        """Read some frames, in the order given.

        Raises:
            TrainingError: the file was removed or replaced by another, or has numbers that
                cannot be.
        """
        names = ['rgb', 'depth', 'T_world_camera', *(['mask'] if self.masked else ())]
        arrays = self._arrays(names, indices)
        depth, poses = (
            arrays[n].astype(t) for n, t in (('depth', 'f4'), ('T_world_camera', 'f8'))
        )
        if not np.isfinite(poses).all() or np.isinf(depth).any():
            raise TrainingError(f'{self.path}: a damaged shard; poses or depths are not finite')
        depth[depth == 0] = np.nan
        masks = arrays['mask'].view(bool) if self.masked else [None] * len(indices)
        stamps = [round((int(index) + 1) * NS_PER_S / self.rate_hz) for index in indices]
        return [
            GroundTruthFrame(stamp_ns, rgb, self.camera, *truth)
            for stamp_ns, rgb, *truth in zip(
                stamps, arrays['rgb'], poses, depth, masks, strict=True
            )
        ]

    def read_weights(self, indices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """Weights of some frames' depths (N, H, W), masks (N, H, W) and poses (N,), in [0, 1].

        For a shard that is weighted.

        Raises:
            TrainingError: as `read`.
        """
        names = ['depth_weight', 'mask_weight', 'pose_weight']
        depth, mask, pose = self._arrays(names, indices).values()
        return depth.astype(np.float32) / 255, mask.astype(np.float32) / 255, pose

    def _arrays(self, names: list[str], indices: NDArray) -> dict[str, NDArray]:
        """Rows of arrays of the file, by name."""
        low, high = int(indices.min()), int(indices.max()) + 1
        try:
            file = _open(self.path)
            return {name: file.get_slice(name)[low:high][indices - low] for name in names}
        except BROKEN as error:
            raise TrainingError(f'{self.path}: cannot be read any more ({error})') from error


@lru_cache(maxsize=256)
def _open(path: Path) -> safe_open:
    return safe_open(path, 'np')


def check_size(config: DataConfig, patch_size: int) -> None:
    """Check that views consist of whole patches.

    Raises:
        TrainingError: they do not; the message names a size that does.
    """
    for name in ('width', 'height'):
        value = getattr(config, name)
        if value % patch_size:
            near = max(1, round(value / patch_size)) * patch_size
            raise TrainingError(
                f'data.{name}: {value} is not a multiple of the patch size {patch_size}; '
                f'take {near}'
            )


def find_shards(folder: Path | str) -> list[Shard]:
    """All shards of a folder, or of the folders that a pattern matches, in order.

    Raises:
        TrainingError: there are none.
    """
    folder = Path(folder)
    folders = [folder] if folder.is_dir() else map(Path, glob(str(folder)))
    paths = sorted(path for each in folders for path in each.glob('*.safetensors'))
    if not paths:
        raise TrainingError(
            f'{folder}: no shards (*.safetensors); make some with `page4d shards` or '
            '`page4d shards-from`, or name their folder'
        )
    return [Shard.open(path) for path in paths]


class WindowDataset(Dataset):
    """Batches of random windows; batch i depends on (seed, i) only, also in a resumed run.

    Args:
        shards: drives to draw from.
        config: sizes and augmentation.
        patch_size: patch size of the network in pixels.
        seed: seed of the draws.
        steps: number of batches.
        rehearsed: drives that `data.rehearsal_share` of the windows are drawn from.

    Raises:
        TrainingError: views are not whole patches, or a window is longer than a drive.
    """

    def __init__(
        self,
        shards: list[Shard],
        config: DataConfig,
        patch_size: int,
        seed: int,
        steps: int,
        rehearsed: Sequence[Shard] = (),
    ) -> None:
        self.shards, self.rehearsed = shards, rehearsed
        self.config, self.patch_size = config, patch_size
        self.seed, self.steps = seed, steps
        self._rooms: dict[int, list[Shard]] = {}
        for shard in [*shards, *rehearsed]:
            self._rooms.setdefault(shard.room_seed, []).append(shard)
        check_size(config, patch_size)
        longest = max(size for size, odds in config.window_sizes.items() if odds)
        for shard in [*shards, *rehearsed]:
            if shard.frames < longest:
                # the published sampling repeats frames here, but equal views add no information
                raise TrainingError(
                    f'{shard.path}: has {shard.frames} frames, and windows have up to {longest}; '
                    'make longer shards, or set data.window_sizes'
                )

    def __len__(self) -> int:
        """Number of batches."""
        return self.steps

    def __getitem__(self, index: int) -> Batch:
        """Draw one batch."""
        config = self.config
        rng = np.random.default_rng([self.seed, index])
        lengths, odds = zip(*config.window_sizes.items(), strict=True)
        size = int(rng.choice(lengths, p=np.array(odds) / sum(odds)))
        windows = [self._window(rng, size) for _ in range(max(1, config.frames_per_batch // size))]
        return Batch(
            *(torch.from_numpy(np.stack(column)) for column in zip(*windows, strict=True))
        )

    def _window(self, rng: np.random.Generator, size: int) -> tuple[NDArray, ...]:
        share = self.config.rehearsal_share if self.rehearsed else 0.0
        shards = self.rehearsed if share and rng.random() < share else self.shards
        shard = shards[rng.integers(len(shards))]
        mixed = self.config.mixed if shard.room_seed >= 0 else 0.0  # recordings share no frame
        if mixed and rng.random() < mixed:
            return self._mixed_window(rng, size, shard.room_seed)
        indices = choose_frames(rng, shard.frames, size, self.config)
        return make_views(shard, indices, self.config, self.patch_size, rng)

    def _mixed_window(
        self, rng: np.random.Generator, size: int, room_seed: int
    ) -> tuple[NDArray, ...]:
        room = self._rooms[room_seed]
        chosen = [room[i] for i in rng.integers(len(room), size=size)]
        views = [
            make_views(s, rng.integers(s.frames, size=1), self.config, self.patch_size, rng)
            for s in chosen
        ]
        columns = [np.concatenate(column) for column in zip(*views, strict=True)]
        motion = Batch._fields.index('motion')
        columns[motion] = np.full_like(columns[motion], np.nan)
        return tuple(columns)


def choose_frames(
    rng: np.random.Generator, frames: int, size: int, config: DataConfig
) -> NDArray[np.int64]:
    """Draw frame indices: in order with a random stride, or any frames; forwards or backwards.

    Args:
        rng: random numbers.
        frames: number of frames of the drive.
        size: number of frames of the window, at most `frames`; no frame is drawn twice.
        config: probabilities of the kinds of windows.
    """
    if size == 1 or rng.random() < config.ordered:
        most = max(1, min(config.max_stride, (frames - 1) // max(1, size - 1)))
        stride = int(rng.integers(1, most + 1))
        start = rng.integers(0, frames - stride * (size - 1))
        indices = start + stride * np.arange(size)
    else:
        indices = rng.permutation(frames)[:size]
    return indices[::-1].copy() if rng.random() < config.backwards else indices


def make_views(
    shard: Shard,
    indices: NDArray,
    config: DataConfig,
    patch_size: int,
    rng: np.random.Generator | None,
) -> tuple[NDArray, ...]:
    """Cut views of the network's input size from the wider frames of a shard.

    Args:
        shard: the drive.
        indices: frames of the drive.
        config: sizes and augmentation.
        patch_size: patch size of the network in pixels.
        rng: random rotation, zoom and augmentation; None cuts the central view unchanged.

    Returns:
        The fields of `Batch` for one window.
    """
    zoom = 1.0 if rng is None else rng.uniform(1 - config.zoom, 1 + config.zoom)
    size = config.width, config.height
    fov_x_deg = config.fov_x_deg or shard.fov_x_deg - 2 * config.turn_deg
    K = centred_camera(*size, fov_x_deg).K
    K[:2, :2] *= zoom
    common = np.zeros(3) if rng is None else rng.uniform(-1, 1, 3) * np.radians(config.turn_deg)
    images, depths, masks, poses = [], [], [], []
    depth_weight, mask_weight = np.ones((2, len(indices), *size[::-1]), np.float32)
    pose_weight = np.ones(len(indices), np.float32)
    if shard.weighted:
        depth_weights, mask_weights, pose_weight = shard.read_weights(indices)
    for index, frame in enumerate(shard.read(indices)):
        turn = common if rng is None else common + rng.normal(0, np.radians(config.shake_deg), 3)
        R = Rotation.from_rotvec(turn).as_matrix()  # view from camera
        image, z, moving = rotate_view(frame, R, K, size)
        images.append(image)
        depths.append(z)
        masks.append(moving)
        if shard.weighted:
            H_frame_view = homography(frame.camera, R, K)
            depth_weight[index] = _warp(depth_weights[index], H_frame_view, size)
            mask_weight[index] = _warp(mask_weights[index], H_frame_view, size)
        T = frame.T_world_camera
        R_view_world = R @ T[:3, :3].T
        poses.append(np.column_stack([R_view_world, -R_view_world @ T[:3, 3]]))
    images = np.stack(images).astype(np.float32) / 255
    if rng is not None:
        images = augment(images, config.augmentation, rng)
    rows, columns = config.height // patch_size, config.width // patch_size
    by_patch = (len(masks), rows, patch_size, columns, patch_size)
    motion, motion_weight = (
        np.stack(maps).reshape(by_patch).mean((2, 4), dtype=np.float32)
        for maps in (masks, mask_weight)
    )
    return (
        np.ascontiguousarray(images.transpose(0, 3, 1, 2)),
        np.stack(depths),
        np.stack(poses).astype(np.float32),
        np.repeat(K[None], len(indices), 0).astype(np.float32),
        motion if shard.masked else np.full_like(motion, np.nan),
        depth_weight,
        motion_weight,
        pose_weight,
    )


def rotate_view(
    frame: GroundTruthFrame, R: NDArray, K: NDArray, size: tuple[int, int]
) -> tuple[NDArray, NDArray, NDArray]:
    """Resample a frame as seen by a camera at the same place, rotated by R.

    Args:
        frame: image and depth, with a mask or without.
        R: rotation from the frame's axes to the view's, (3, 3).
        K: camera matrix of the view, (3, 3).
        size: width and height of the view in pixels.

    Returns:
        Image, depth along the view's optical axis, and mask; depth and mask are 0 outside the
        frame and where they are unknown.
    """
    H_frame_view = homography(frame.camera, R, K)
    image = cv2.warpPerspective(
        frame.rgb, H_frame_view, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    z = _warp(frame.depth, H_frame_view, size)
    z[np.isnan(z)] = 0
    mask = np.zeros(frame.depth.shape, bool) if frame.mask is None else frame.mask
    moving = _warp(mask.view(np.uint8), H_frame_view, size)
    u, v = np.meshgrid(np.arange(size[0]), np.arange(size[1]))
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T @ R  # in the frame's axes
    return image, z / rays[..., 2].astype(np.float32), moving.view(bool)


def homography(camera: PinholeCamera, R: NDArray, K: NDArray) -> NDArray:
    """Pixels of a frame, homogeneous, from those of a view; see `rotate_view`."""
    return camera.K @ R.T @ np.linalg.inv(K)


def _warp(values: NDArray, H_frame_view: NDArray, size: tuple[int, int]) -> NDArray:
    """Values of the nearest pixels of a frame, 0 outside."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(values, H_frame_view, size, flags=flags)
