"""Depth at the camera's pixels against that of the renderer."""

import cv2
import numpy as np
import pytest

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.upsampling import Upsampling

FLYING = 0.05  # relative distance from every true depth nearby
REACH = 3  # pixels nearby, as many as a pixel of the network spans


def figures(depth, truth):
    """Mean relative error, and share of flying points."""
    at = np.pad(truth, REACH, mode='edge')
    near = np.lib.stride_tricks.sliding_window_view(at, (2 * REACH + 1,) * 2)
    distance = np.abs(depth[..., None, None] / near - 1).min((2, 3))
    return np.abs(depth / truth - 1).mean(), (distance > FLYING).mean()


@pytest.mark.parametrize('blurred', [False, True], ids=['sharp', 'blurred'])
def test_edges_are_nearer_to_the_truth_than_by_interpolation(frames, blurred):
    """Blurred as networks do: with ramps between surfaces."""
    found = {'nearest': [], 'bilinear': [], 'ours': []}
    for frame in frames:
        fit = ImageTransform.crop(320, 240, 112, 14)
        depth = fit.nearest(frame.depth)
        if blurred:
            depth = cv2.GaussianBlur(depth, (3, 3), 0.7)
        colours = image_to_network(frame.rgb, fit, 'cpu').permute(1, 2, 0).numpy()
        linear = cv2.resize(depth, (320, 240), interpolation=cv2.INTER_LINEAR)
        own = Upsampling(depth, colours, frame.rgb, fit).depth
        for name, map_ in (
            ('nearest', fit.image_to_source(depth, np.nan)),
            ('bilinear', linear),
            ('ours', own),
        ):
            found[name].append(figures(map_, frame.depth))
    (nearest, bilinear, ours) = (np.mean(each, 0) for each in found.values())
    assert ours[0] < 0.65 * min(nearest[0], bilinear[0])
    assert ours[1] < 0.25 * bilinear[1]
