"""Engines in float64 on small networks whose every part matters, and their slow reference."""

from dataclasses import replace

import numpy as np
import torch

from page4d_ros.config import ModelConfig
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.checkpoint import untrained_network
from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.reference import Reference
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine

SIZE = 4
LIMIT = 1e-12
SMALL = {
    'embed_dim': 32,
    'stem_channels': 4,
    'mask_hidden': 8,
    'dpt_features': 8,
    'dpt_channels': (8, 8, 8, 8),
    'dpt_head_channels': 4,
    'point_head': True,
}
STEPS = [1, 1, 2, 1, 1, 1, 2, 3, 1]  # how many frames arrive before each step
SETTINGS = ModelConfig(checkpoint='', device='cpu', resolution=56, point_head=True)


def network_of(*, mask, family=NetworkConfig, **fields):
    """A network in float64 whose every part matters: random tokens, norms and gains."""
    config = replace(family.tiny(), mask_enabled=mask, **(SMALL | fields))
    network = untrained_network(config).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.add_(0.05 * noise)
        if family is FourDVGGTConfig:
            network.fusion.alpha.add_(0.5)  # of an untrained one, the gates are shut
    return network


def frame(index, size=(64, 48)):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 255, (size[1] // 8, size[0] // 8, 3), np.uint8)
    pixels = np.kron(image, np.ones((8, 8, 1), np.uint8))
    return FrameSet.of(Frame(index, 'camera', lambda: None)), [pixels]


def relative(a, b):
    a, b = (torch.as_tensor(x).double() for x in (a, b))
    return float((a - b).abs().max() / b.abs().max().clamp_min(1e-30))


def differences(window, reference, alpha):
    """Largest relative differences of one step to the reference on the same images."""
    wanted = reference(torch.stack(window.images), alpha)
    T, _ = decode_pose(wanted.pose_enc[0], window.images[0].shape[-2:])
    newest = slice(-len(window.depth), None)
    out = {
        'pose': relative(inverse(window.T_gauge_camera)[:, :3], T),
        'depth': relative(window.depth, wanted.depth[0, newest]),
        'confidence': relative(window.confidence, 1 - 1 / wanted.depth_conf[0, newest]),
        'points': relative(window.points, wanted.world_points[0, newest]),
    }
    if window.dynamic is not None:
        out['mask'] = relative(window.dynamic, 0.5 - wanted.mask_score[0])
    return out


def run(engine, reference, alpha, steps=STEPS, size=SIZE):
    """Growth, then a sliding window, with anchors at times; the worst differences."""
    worst, index, anchor = {}, 0, None
    for number, count in enumerate(steps):
        for _ in range(count):
            engine.push(*frame(index))
            index += 1
        window = engine.step(anchor if number % 3 else None)
        wanted = count + bool(number % 3 and anchor in {f.key for f in window.frames})
        assert len(window.depth) == wanted
        assert [f.stamp_ns for f in window.frames] == list(range(max(0, index - size), index))
        anchor = window.frames[-1].key
        for name, value in differences(window, reference, alpha).items():
            worst[name] = max(value, worst.get(name, 0.0))
    return worst


def pair(*, mask, size=SIZE, **fields):
    network = network_of(mask=mask, **fields)
    reference = Reference(network)
    return WindowEngine(network, SETTINGS, size), reference
