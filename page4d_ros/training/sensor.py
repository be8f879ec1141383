"""What cameras do to pictures: exposure, colour, blur and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from page4d_ros.training.recipe import SensorConfig


def disturb(
    images: NDArray[np.float32], config: SensorConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Disturb a window of RGB images (S, H, W, 3) in [0, 1] as one camera would.

    Exposure, contrast and colour belong to the window and flutter a little from frame to frame;
    blur and noise are each frame's own.
    """
    exposure = np.exp(rng.normal(0, config.exposure))
    colour = np.exp(rng.normal(0, config.colour, 3))
    gamma = np.exp(rng.normal(0, config.gamma))
    noise = rng.uniform(0, config.noise)
    blurred = rng.random() < config.blur_share
    out = np.empty_like(images)
    for i, image in enumerate(images):
        gain = colour * exposure * np.exp(rng.normal(0, config.flutter))
        picture = np.clip(image * gain.astype(np.float32), 0, 1) ** np.float32(gamma)
        if blurred:
            picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.2, config.blur))
        picture = picture + noise * rng.standard_normal(image.shape, np.float32)
        out[i] = np.clip(picture, 0, 1)
    return out
