"""VGGT4D over a whole clip: from the dynamic map to masks (VGGT4D, 3.2 and 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.nn import functional

from page4d_ros.errors import ConfigError
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.gram import token_mask, unit
from page4d_ros.model.network import StepPlan, patch_grid, run_sequence
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.preprocess import in_unit_range

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.model.network import Network, NetworkOutput

FEATURE_CLUSTERS = 64
POINT_CLUSTERS = 30
SEED = 42
NEIGHBOURS, FAR_NEIGHBOURS = 20, 2.5  # of the outlier filter: how many, and standard deviations
VISIBLE = 0.01  # how far in front of the seen surface, in units of the gauge
FEWEST = 0.05  # share of samples that a cluster needs
KEEP = 0.1  # residual of a cluster that moves
FORCED = 1e10  # residual of a cluster that nobody sees


class Mined(NamedTuple):
    """Estimates of VGGT4D for a clip.

    Attributes:
        output: depth, confidence and intrinsics, of the first pass.
        pose_enc: (S, 9) of the second pass, which does not attend to what moves.
        masks: (S, H, W) bool, true where something moves.
    """

    output: NetworkOutput
    pose_enc: Tensor
    masks: NDArray[np.bool_]


@torch.inference_mode()
def mine(network: Network, images: Tensor) -> Mined:
    """Poses, depth and masks of a whole clip, without training (VGGT4D, 3).

    Args:
        network: plain VGGT, or any other of the family.
        images: (S, 3, H, W), bytes or in [0, 1].

    Raises:
        ConfigError: scikit-learn or scikit-image is not installed.
    """
    grid, size = patch_grid(network, images), images.shape[-2:]
    network = network.with_mask_in_attention(on=False)
    output, encoded = run_sequence(network, images)
    coarse = coarse_masks(output.gram, encoded[0], size)
    hidden = torch.from_numpy(coarse).to(images.device)
    hidden = token_mask(hidden, network.patch_size)[None]
    tokens = network.enter(encoded, grid, first=True, hidden=hidden)
    again = network.step(tokens, StepPlan(grid, newest=1), hidden)
    T_camera_world, _ = decode_pose(again.pose_enc[0].double(), size)
    _, K = decode_pose(output.pose_enc[0].double(), size)
    T_camera_world = T_camera_world.cpu().numpy()
    T_world_camera = inverse(transform(T_camera_world[:, :, :3], T_camera_world[:, :, 3]))
    masks = refine(coarse, images, output.depth[0], T_world_camera, K.cpu().numpy())
    return Mined(output, again.pose_enc[0], masks)


def cluster_map(dynamic: Tensor, features: Tensor) -> Tensor:
    """Give patches that look alike the same score.

    Args:
        dynamic: (S, h, w) map of `GramStatistics`.
        features: (S, h * w, C) encoder tokens.

    Returns:
        (S, h, w), from 0 to 1 within each frame.

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise _missing() from error
    rows = features.flatten(0, 1).float().cpu().numpy()
    clusters = min(FEATURE_CLUSTERS, len(rows))
    labels = KMeans(clusters, random_state=SEED, n_init='auto').fit_predict(rows)
    return mean_by_label(dynamic, torch.from_numpy(labels).view(dynamic.shape))


def mean_by_label(dynamic: Tensor, labels: Tensor) -> Tensor:
    """Mean of each cluster, (S, h, w), from 0 to 1 within each frame."""
    flat, index = dynamic.flatten(), labels.flatten().long().to(dynamic.device)
    count = torch.bincount(index).clamp_min(1)
    mean = torch.bincount(index, flat) / count
    return unit(mean[index].view(len(dynamic), -1).to(dynamic.dtype)).view(dynamic.shape)


def adaptive_threshold(values: NDArray) -> float:
    """Highest threshold of the multi-Otsu with the best of 2, 3 and 4 classes.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        from skimage.filters import threshold_multiotsu
    except ImportError as error:
        raise _missing() from error
    best, chosen = -np.inf, float(values.max())
    for classes in (2, 3, 4):
        if len(np.unique(values)) < classes:
            break
        thresholds = threshold_multiotsu(values, classes)
        each = np.digitize(values, thresholds)
        means = [values[each == c].mean() for c in range(classes) if (each == c).any()]
        score = np.var(means) / np.sqrt(classes)
        if score > best:
            best, chosen = score, float(thresholds[-1])
    return chosen


def coarse_masks(dynamic: Tensor, features: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Masks (S, H, W) of a clip from its dynamic map (S, h, w) and features (S, h * w, C)."""
    score = cluster_map(dynamic, features)[:, None]
    score = functional.interpolate(score, size, mode='bilinear', align_corners=False)[:, 0]
    values = score.cpu().numpy()
    return values > adaptive_threshold(values)


def refine(
    masks: NDArray[np.bool_],
    images: Tensor,
    depth: Tensor,
    T_world_camera: NDArray,
    K: NDArray,
) -> NDArray[np.bool_]:
    """Drop what other frames see at rest, and close what is left.

    Args:
        masks: (S, H, W) coarse masks.
        images: (S, 3, H, W), bytes or in [0, 1].
        depth: (S, H, W) in the gauge's unit.
        T_world_camera: (S, 4, 4).
        K: (S, 3, 3).

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise _missing() from error
    out = np.zeros_like(masks)
    for frame, mask in enumerate(masks):
        one = slice(frame, frame + 1)
        at = lift(depth[one], T_world_camera[one], K[one]).reshape(-1, 3)
        chosen = np.flatnonzero(mask.ravel() & inliers(at))
        if not len(chosen):
            continue
        clusters = min(POINT_CLUSTERS, len(chosen))
        labels = KMeans(clusters, random_state=SEED, n_init='auto').fit_predict(at[chosen])
        colours = in_unit_range(images[frame]).flatten(1).T.cpu().numpy()[chosen]
        loss = residuals(
            at[chosen], colours, labels, frame, masks, images, depth, T_world_camera, K
        )
        kept = np.zeros(mask.size, np.uint8)
        kept[chosen] = loss[labels, 2] > KEEP
        kept = kept.reshape(mask.shape)
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
        kept = cv2.morphologyEx(kept, cv2.MORPH_CLOSE, ellipse)
        out[frame] = cv2.dilate(kept, np.ones((3, 3), np.uint8)) > 0
    return out


def lift(depth: Tensor, T_world_camera: NDArray, K: NDArray) -> NDArray[np.float32]:
    """Points (S, H, W, 3) of the pixels' centres, which lie at half coordinates here."""
    z = depth.float().cpu().numpy()
    v, u = np.mgrid[: z.shape[1], : z.shape[2]] + 0.5
    rays = np.stack([u, v, np.ones_like(u)], -1) @ np.swapaxes(np.linalg.inv(K), 1, 2)[:, None]
    points = rays * z[..., None]
    R, t = T_world_camera[:, None, :3, :3], T_world_camera[:, None, None, :3, 3]
    return (points @ np.swapaxes(R, -1, -2) + t).astype(np.float32)


def inliers(points: NDArray) -> NDArray[np.bool_]:
    """Points (n,) whose neighbours are not unusually far."""
    count = min(NEIGHBOURS, len(points))
    distance, _ = cKDTree(points).query(points, count)
    mean = distance.reshape(len(points), -1).mean(1)
    return mean < mean.mean() + FAR_NEIGHBOURS * mean.std(ddof=1)


def residuals(
    points: NDArray,
    colours: NDArray,
    labels: NDArray,
    frame: int,
    masks: NDArray[np.bool_],
    images: Tensor,
    depth: Tensor,
    T_world_camera: NDArray,
    K: NDArray,
) -> NDArray[np.float64]:
    """Mean difference of depth, of colour, and their sum, of every cluster; (clusters, 3).

    A cluster that the other frames hardly see gets FORCED.

    Args:
        points: (n, 3) of one frame.
        colours: (n, 3).
        labels: (n,) cluster of each.
        frame: which of the clip's.
        masks: as in `refine`, like what follows.
        images: of the clip.
        depth: of the clip.
        T_world_camera: of the clip.
        K: of the clip.
    """
    others = [i for i in range(len(masks)) if i != frame]
    height, width = masks.shape[1:]
    clusters = int(labels.max()) + 1
    sums = np.zeros((clusters, 3))  # samples, depth, colour
    for other in others:
        T = inverse(T_world_camera[other])
        seen = points @ T[:3, :3].T + T[:3, 3]
        z = seen[:, 2]
        with np.errstate(divide='ignore', invalid='ignore'):
            u, v = ((K[other] @ seen.T)[:2] / z).astype(np.float32)
        at = np.stack([2 * u / (width - 1) - 1, 2 * v / (height - 1) - 1], -1)
        at = torch.from_numpy(np.nan_to_num(at, nan=-9, posinf=9, neginf=-9))[None, None].float()
        found = _sample(depth[other][None], at, 'nearest')[0]
        moving = _sample(torch.from_numpy(masks[other])[None].float(), at, 'bilinear')[0] > 0.5
        colour = _sample(in_unit_range(images[other]), at, 'bilinear').T
        use = (u > 0) & (u < width) & (v > 0) & (v < height) & (z > 0)
        use &= (z - VISIBLE < found) & ~moving
        change = np.abs(colour - colours).sum(1)
        for column, value in enumerate((np.ones(len(z)), np.abs(z - found), change)):
            sums[:, column] += np.bincount(labels[use], value[use], minlength=clusters)
    possible = np.maximum(np.bincount(labels, minlength=clusters) * max(len(others), 1), 1)
    mean = sums[:, 1:] / np.maximum(sums[:, :1], 1)
    out = np.column_stack([mean, mean[:, 0] + mean[:, 1] / 3])
    out[sums[:, 0] < FEWEST * possible] = FORCED
    return out


def _sample(values: Tensor, at: Tensor, mode: str) -> NDArray:
    """Values (C, H, W) at normalised places (1, 1, n, 2), as (C, n)."""
    found = functional.grid_sample(values[None].float().cpu(), at, mode=mode, align_corners=True)
    return found[0, :, 0].numpy()


def _missing() -> ConfigError:
    return ConfigError('VGGT4D over a whole clip needs: pip install scikit-learn scikit-image')
