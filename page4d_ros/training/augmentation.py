"""Augmentation of images: exposure, colour, blur and noise of a camera."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from page4d_ros.training.recipe import AugmentationConfig


def augment(
    images: NDArray[np.float32], config: AugmentationConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change exposure, colour, blur and noise of a window of RGB images (S, H, W, 3) in [0, 1].

    Exposure, contrast and colour are drawn for the window; a small change of exposure, the width
    of the blur, and the noise are drawn for each frame.
    """
    exposure = np.exp(rng.normal(0, config.exposure))
    colour = np.exp(rng.normal(0, config.colour, 3))
    gamma = np.exp(rng.normal(0, config.gamma))
    noise = rng.uniform(0, config.noise)
    blurred = rng.random() < config.blur_share
    out = np.empty_like(images)
    for i, image in enumerate(images):
        gain = colour * exposure * np.exp(rng.normal(0, config.flutter))
        changed = np.clip(image * gain.astype(np.float32), 0, 1) ** np.float32(gamma)
        if blurred:
            changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.2, config.blur))
        changed = changed + noise * rng.standard_normal(image.shape, np.float32)
        out[i] = np.clip(changed, 0, 1)
    return out
