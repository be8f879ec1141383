"""Recordings for the tests: rendered drives, and nodes that know or guess the truth."""

from collections import deque

import cv2
import numpy as np
import torch

from page4d_ros.bags.rendered import write_rendered
from page4d_ros.bags.replay import replay
from page4d_ros.bags.sources import open_source
from page4d_ros.config import Config
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.build import build_perception
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import FrameSet, WindowEstimate
from page4d_ros.synthetic.render import T_base_camera, render_clip

PLAIN = {
    'mask.source': 'head',
    'mask.min_area': 0,
    'mask.dilate': 0,
    'depth.max_range': 0.0,
    'window.stride': 1,
    'odometry.refine': False,  # the engine knows poses better than corners do
}


class TruthEngine:
    """Tells the truth about rendered frames, in a gauge of its own, with chosen errors.

    Args:
        frames: the rendered frames.
        size: frames per window.
        scale: units of the gauge per metre.
        noise: standard deviation of log depth.
    """

    name, device, trained = 'oracle', torch.device('cpu'), True
    purpose = caution = ''
    patch_size = 14

    def __init__(self, frames, size=4, scale=0.4, noise=0.0, resolution=154):
        self.truth = {frame.stamp_ns: frame for frame in frames}
        self.gauge = Sim3(scale, np.eye(3), np.zeros(3))
        self.noise, self.resolution = noise, resolution
        self.rng = np.random.default_rng(0)
        self.slots = deque(maxlen=size)

    def clear(self):
        self.slots.clear()

    def hide(self, motions):
        pass

    def push(self, frames, images, *, keep_first=False):
        (frame,), (image,) = frames.frames, images
        fit = ImageTransform.crop(image.shape[1], image.shape[0], self.resolution)
        self.slots.append((frame, fit, image_to_network(image, fit, self.device)))

    def step(self, anchor=None, *, gram=False):
        frames, fits, images = zip(*self.slots, strict=True)
        fit, truth = fits[0], [self.truth[frame.stamp_ns] for frame in frames]
        poses = self.gauge.apply_to_pose(np.stack([t.T_world_camera for t in truth]))
        depth = np.stack([shrink(t.depth, fit) for t in truth]) * self.gauge.scale
        depth = depth * np.exp(self.noise * self.rng.normal(size=depth.shape))
        moving = np.stack([patches(t.mask, fit) for t in truth])
        return WindowEstimate(
            sets=tuple(map(FrameSet.of, frames)),
            transforms=(fit,) * len(frames),
            images=images,
            T_gauge_camera=poses,
            cameras=(fit.camera_to_network(frames[-1].camera),) * len(frames),
            depth=depth.astype(np.float32),
            confidence=np.where(depth > 2.0, 0.1, 0.8).astype(np.float32),
            dynamic=moving.astype(np.float32),
            seconds={'encode': 0.002, 'forward': 0.03 + 0.01 * self.rng.random()},
        )


def shrink(image, fit):
    """A map of the source (H, W) at the network's pixels (h, w), nearest neighbour."""
    v, u = np.mgrid[: fit.height, : fit.width]
    source = np.rint(fit.to_source(np.stack([u, v], -1).astype(float))).astype(int)
    column = source[..., 0].clip(0, fit.source_width - 1)
    return image[source[..., 1].clip(0, fit.source_height - 1), column]


def patches(mask, fit):
    small = shrink(mask.astype(np.float32), fit)
    size = (fit.width // 14, fit.height // 14)
    return cv2.resize(small, size, interpolation=cv2.INTER_AREA)


def rendered(count=16, width=160, height=120, rate_hz=10.0):
    return list(render_clip(frames=count, width=width, height=height, rate_hz=rate_hz))


def write_source(frames, path):
    write_rendered(frames, path, T_base_camera)
    return path


def record(source, output, frames=None, **values):
    """What the node says about `source`: the truth about `frames`, or an untrained network."""
    config = Config().with_values(PLAIN | {k.replace('__', '.'): v for k, v in values.items()})
    if frames is None:
        untrained = {'model.checkpoint': 'untrained', 'model.resolution': 154}
        config = config.with_values(untrained)
        perception = build_perception(config)
    else:
        perception = Perception(config, TruthEngine(frames))
    opened = open_source(source, config)
    try:
        replay(opened, output, config, perception=perception)
    finally:
        opened.close()
    return output
