"""A plane that is known in closed form, networks of a few thousand weights, and their recipes."""

from dataclasses import replace

import numpy as np
import torch
from fakes import room_depth
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform
from page4d_ros.model.checkpoint import save_network, untrained_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.synthetic.shards import save_shard
from page4d_ros.training.batch import Batch
from page4d_ros.training.log import Log
from page4d_ros.training.recipe import read_recipe
from page4d_ros.training.trainer import Trainer

__all__ = ['Log', 'Trainer', 'read_recipe']

CAMERA = PinholeCamera(96, 72, 60.0, 62.0, 47.5, 35.5)  # 77 x 60 degrees
MICRO = replace(
    NetworkConfig.tiny(),
    img_size=56,
    stem_channels=4,
    embed_dim=16,
    encoder_depth=1,
    mask_hidden=8,
    camera_depth=1,
    camera_heads=2,
    camera_iterations=2,
    dpt_features=8,
    dpt_channels=(8, 8, 8, 8),
    dpt_head_channels=4,
)
STANDIN = replace(
    NetworkConfig.published(),
    img_size=56,
    embed_dim=64,
    num_heads=1,
    encoder_depth=2,
    encoder_heads=1,
    mask_hidden=8,
    camera_depth=1,
    camera_heads=2,
    camera_iterations=2,
    dpt_features=16,
    dpt_channels=(16, 16, 16, 16),
    dpt_head_channels=8,
)


def plane_poses(frames, seed):
    """T_world_camera (N, 4, 4): in front of the plane z = 6 m, looking about."""
    rng = np.random.default_rng(seed)
    turns = Rotation.from_rotvec(rng.uniform(-0.25, 0.25, (frames, 3))).as_matrix()
    return transform(turns, rng.uniform(-0.5, 0.5, (frames, 3)))


def colour(points):
    """Colours (..., 3) in [0, 1] that tell where a point of the plane is."""
    x, y = points[..., 0], points[..., 1]
    return np.stack([0.5 + x / 30, 0.5 + y / 30, 0.5 + (x - y) / 60], -1).clip(0, 1)


def plane_shard(path, seed=0, frames=10, masked=True, camera=CAMERA, **facts):
    """Write a shard of the plane; what has x < 0 moves."""
    poses = plane_poses(frames, seed)
    depth = np.stack([room_depth(T, camera) for T in poses])
    points = np.stack(
        [camera.unproject(d) @ T[:3, :3].T + T[:3, 3] for d, T in zip(depth, poses, strict=True)]
    )
    arrays = {
        'rgb': np.rint(255 * colour(points)).astype(np.uint8),
        'depth': depth.astype(np.float16),
        'T_world_camera': poses.astype(np.float32),
    }
    if masked:
        arrays['mask'] = (points[..., 0] < 0).astype(np.uint8)
    known = {name: getattr(camera, name) for name in ('fx', 'fy', 'cx', 'cy')}
    known |= {'rate_hz': 10.0, 'room_seed': 1, 'drive_seed': seed}
    save_shard(path, arrays, known | facts)
    return path


def save_micro(path, config=MICRO, **changes):
    network = untrained_network(replace(config, **changes))
    save_network(network, path, name='micro')
    return path


def micro_tree(files, weights='micro'):
    return {
        'weights': str(files / f'{weights}.safetensors'),
        'steps': 4,
        'precision': 'fp32',
        'ema': 0.9,
        'evaluate_every': 2,
        'save_every': 100,
        'groups': [{'lr': 1e-3, 'lr_ends': 1e-4, 'warmup': 0.0, 'hold': 0.5}],
        'loss': {'relative': 1.0, 'motion': 0.1, 'coordinates': 0.1},
        'mask': {'hold_start': 1, 'hold_end': 3},
        'data': {
            'train': str(files / 'train'),
            'validation': '',
            'width': 56,
            'height': 42,
            'frames_per_batch': 4,
            'window_sizes': {2: 1.0, 4: 1.0},
            'workers': 0,
        },
    }


def random_batch(windows=2, views=2, size=(28, 42), seed=0, known=1.0):
    """Batch with poses and depth that are plausible, and a share of known depth."""
    g = torch.Generator().manual_seed(seed)
    height, width = size
    turns = torch.rand(windows, views, 3, generator=g) - 0.5
    rotation = torch.from_numpy(
        Rotation.from_rotvec(turns.flatten(0, 1).numpy()).as_matrix()
    ).float()
    extrinsics = torch.cat(
        [
            rotation.unflatten(0, (windows, views)),
            torch.rand(windows, views, 3, 1, generator=g) - 0.5,
        ],
        dim=-1,
    )
    K = torch.tensor([[width, 0.0, width / 2 - 0.5], [0, width, height / 2 - 0.5], [0, 0, 1]])
    depth = 1 + torch.rand(windows, views, height, width, generator=g)
    rows = torch.arange(height)[:, None] < known * height
    return Batch(
        torch.rand(windows, views, 3, height, width, generator=g),
        depth * rows,
        extrinsics,
        K.expand(windows, views, 3, 3).clone(),
        (torch.rand(windows, views, height // 14, width // 14, generator=g) > 0.5).float(),
        torch.ones(windows, views, height, width),
        torch.ones(windows, views, height // 14, width // 14),
        torch.ones(windows, views),
    )
