"""Images for tests of tracked corners: windows of a texture, and a textured room."""

import cv2
import numpy as np


def textured(width=320, height=240, seed=0):
    """Smooth grains (height + 64, width + 64) of 8 pixels."""
    shape = height // 8 + 8, width // 8 + 8
    grains = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.resize(grains, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)


def view(texture, u, v, width=320, height=240):
    """A window of a texture whose first pixel is at (u, v)."""
    M = np.array([[1.0, 0.0, u], [0.0, 1.0, v]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.repeat(cv2.warpAffine(texture, M, (width, height), flags=flags)[..., None], 3, 2)
