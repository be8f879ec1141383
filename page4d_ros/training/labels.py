"""Training shards of a recording without ground truth: what a teacher says of it.

The teacher is the whole perception: poses from corners and network, depth tied to points, and the
fused motion mask. Beside the arrays of `page4d_ros.synthetic.shards`, such a shard has weights of
its labels: `depth_weight` and `mask_weight` (N, H, W) uint8, of 255, and `pose_weight` (N,)
float32. Its metadata name recording and teacher under `taught`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.errors import TrainingError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.trust import TRUSTED
from page4d_ros.perception.types import NETWORK, NOTHING
from page4d_ros.synthetic.shards import recording_facts, recording_shard, save_shard
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.types import Estimate

FEWEST = 8  # frames of a shard: training takes windows of up to so many
HELD_OUT = 'held_out'  # folder of the shards to validate on
SURE = 0.05  # depth of a lower weight is no label
COVERED = 0.1  # share of pixels with depth that a frame needs
STEADY = 0.02  # largest deviation of a frame's translation, in depths of the scene


class LabelShards:
    """Writes the estimates of one recording as shards, without those that cannot be trusted.

    Args:
        folder: receives ``NAME_0000.safetensors`` and so on.
        name: of the recording.
        frames: per shard.
        width: of its images in pixels.

    Attributes:
        teacher: name of its weights, for the metadata.
        kept: frames in shards.
        left_out: frames that are in none, by reason.
        paths: of the shards, as they were written.
    """

    def __init__(self, folder: Path, name: str, *, frames: int = 20, width: int = 160) -> None:
        self.folder, self.name = folder, name
        self.frames, self.width = frames, width
        self.teacher = ''
        self.kept = 0
        self.left_out: Counter[str] = Counter()
        self.paths: list[Path] = []
        self._rows: list[dict[str, NDArray]] = []
        self._stamps: list[int] = []
        self._K = np.eye(3)

    def add(self, estimate: Estimate) -> None:
        """Take the next estimate of the recording; what its image shows is decoded once more.

        Raises:
            TrainingError: a shard cannot be written.
        """
        odometry = estimate.odometry
        if odometry.lost or odometry.restarted:
            self.close()  # the poses before and after are not of one trajectory
        reason = distrust(estimate)
        if not reason and self._stamps and unsteady(estimate, self._since(estimate)):
            reason = 'pose uncertain'
            self.close()
        if reason:
            self.left_out[reason] += 1
            return
        row, K = _labels(estimate, self.width)
        if self._rows and not np.allclose(K, self._K, rtol=1e-3):
            self.close()  # a shard has one camera
        self._K = K
        self._rows.append(row)
        self._stamps.append(estimate.frame.stamp_ns)
        if len(self._rows) == self.frames:
            self.close()

    def _since(self, estimate: Estimate) -> float:
        """Seconds since the last frame of the shard."""
        return (estimate.frame.stamp_ns - self._stamps[-1]) / NS_PER_S

    def close(self) -> None:
        """Write the frames that have gathered, if they are enough for a shard."""
        rows, stamps, self._rows, self._stamps = self._rows, self._stamps, [], []
        if len(rows) < min(FEWEST, self.frames):
            self.left_out['too few in a row'] += len(rows)
            return
        path = recording_shard(self.folder, self.name, len(self.paths))
        height, width, _ = rows[0]['rgb'].shape
        camera = PinholeCamera.from_matrix(self._K, width, height)
        taught = f'{self.name} by {self.teacher}'
        facts = recording_facts(self.name, stamps, camera, taught=taught)
        arrays = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
        save_shard(path, arrays, facts)
        self.paths.append(path)
        self.kept += len(rows)

    def hold_out(self, share: float) -> int:
        """Move the last shards of the recording to `HELD_OUT`; how many.

        Args:
            share: of all shards; at least one is moved unless it is 0, and one stays.

        Raises:
            TrainingError: a shard cannot be moved.
        """
        count = min(math.ceil(share * len(self.paths)), len(self.paths) - 1)
        folder = self.folder / HELD_OUT
        if count <= 0:
            return 0
        try:
            folder.mkdir(exist_ok=True)
            for path in self.paths[-count:]:
                path.replace(folder / path.name)
        except OSError as error:
            raise TrainingError(f'{folder}: cannot be written ({error.strerror})') from error
        return count


def distrust(estimate: Estimate) -> str:
    """Reason why an estimate is no label; "" for one that is."""
    odometry = estimate.odometry
    if odometry.lost or odometry.relies_on == NOTHING:
        return 'lost'
    if estimate.still:
        return 'nothing new'
    if estimate.window_fill == 1:
        return 'one frame in the window'
    if odometry.relies_on == NETWORK and odometry.network_trust < TRUSTED:
        return 'network not trusted, and no points'
    if estimate.maps.known.mean() < COVERED:
        return 'hardly any depth'
    return ''


def unsteady(estimate: Estimate, seconds: float) -> bool:
    """True if the translation since the frame before, so long ago, is too uncertain."""
    deviation = seconds * np.sqrt(np.trace(estimate.odometry.twist_covariance[:3, :3]) / 3)
    return bool(deviation > STEADY * np.nanmedian(estimate.maps.depth))


def _labels(estimate: Estimate, width: int) -> tuple[dict[str, NDArray], NDArray]:
    """Arrays of one frame of a shard, and its camera matrix."""
    odometry, maps = estimate.odometry, estimate.maps
    fit = _widened(estimate.transform, width)
    size = fit.width, fit.height
    image = image_to_network(estimate.frame.decode(), fit, 'cpu').numpy()
    depth = cv2.resize(maps.depth, size, interpolation=cv2.INTER_NEAREST)
    sure = cv2.resize(maps.confidence, size, interpolation=cv2.INTER_NEAREST)
    depth = np.where((depth < np.finfo(np.float16).max) & (sure >= SURE), depth, 0)
    moving = cv2.resize(estimate.mask, size, interpolation=cv2.INTER_NEAREST)
    chance = cv2.resize(estimate.probability, size, interpolation=cv2.INTER_NEAREST)
    alone = odometry.relies_on == NETWORK
    row = {
        'rgb': image.transpose(1, 2, 0),
        'depth': depth.astype(np.float16),
        'mask': (moving > 0).astype(np.uint8),
        'T_world_camera': odometry.T_world_camera.astype(np.float32),
        'depth_weight': _bytes(sure),
        'mask_weight': _bytes(odometry.network_trust * np.abs(2 * chance - 1)),
        'pose_weight': np.float32(odometry.network_trust if alone else 1.0),
    }
    camera = estimate.camera
    by = np.array(size) / (camera.width, camera.height)
    K = camera.K
    K[:2] *= by[:, None]
    K[:2, 2] += (by - 1) / 2  # integer coordinates are centres of pixels
    return row, K


def _widened(fit: ImageTransform, width: int) -> ImageTransform:
    """The same crop of the source as an image of another width."""
    by = width / fit.width
    names = 'resized_width', 'resized_height', 'crop_x', 'crop_y', 'width', 'height'
    return replace(fit, **{name: round(by * getattr(fit, name)) for name in names})


def _bytes(weight: NDArray) -> NDArray[np.uint8]:
    return np.rint(255 * weight.clip(0, 1)).astype(np.uint8)
