"""Recordings for the tests: rendered drives, and nodes that know or guess the truth."""

from dataclasses import replace

import numpy as np

from page4d_ros.bags.rendered import write_rendered
from page4d_ros.bags.replay import replay
from page4d_ros.bags.sources import open_source
from page4d_ros.config import Config
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.datasets.simulator import EXACT, SequenceWorld, SimulatedEngine
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.perception.build import build_perception
from page4d_ros.perception.pipeline import Perception
from page4d_ros.synthetic.render import T_base_camera, render_clip

PLAIN = {
    'mask.source': 'head',
    'mask.min_area': 0,
    'mask.dilate': 0,
    'depth.max_range': 0.0,
    'window.stride': 1,
    'odometry.estimator': 'network',  # the engine knows poses better than corners do
}


SCALE = 0.4  # units of the gauge per metre


class TruthEngine(SimulatedEngine):
    """Simulated network of rendered frames in one gauge, which doubts what is far.

    Args:
        frames: the rendered frames.
        size: frames per window.
        noise: errors of the windows.
    """

    def __init__(self, frames, size=4, noise=EXACT):
        sequence = FileSequence(
            'rendered', len(frames), lambda wanted: [frames[i] for i in wanted]
        )
        gauge = Sim3(SCALE, np.eye(3), np.zeros(3))
        super().__init__(SequenceWorld(sequence), size, noise=noise, gauge=gauge, resolution=154)

    def step(self, anchor=None, *, gram=False):
        window = super().step(anchor, gram=gram)
        confidence = np.where(window.depth > 2.0, 0.1, 0.8).astype(np.float32)
        return replace(window, confidence=confidence)


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
