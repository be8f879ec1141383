"""What moves: from the network's patch score to a mask a consumer can use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import MaskConfig
    from page4d_ros.perception.types import WindowEstimate

DYNAMIC = 255


class Dynamics:
    """Probability and mask of the newest frame."""

    def __init__(self, config: MaskConfig) -> None:
        self.config = config

    def update(self, window: WindowEstimate) -> tuple[Tensor, NDArray[np.uint8]]:
        """Answer for the newest frame.

        Returns:
            Probability (h, w) on the device that a pixel moves, zero everywhere where the network
            has no mask head; and the mask (h, w), 0 static, 255 dynamic.
        """
        size = window.depth.shape[1:]
        if window.dynamic is None:
            return torch.zeros(size, device=window.depth.device), np.zeros(size, np.uint8)
        probability = functional.interpolate(
            window.dynamic[-1][None, None], size, mode='bilinear', align_corners=False
        )[0, 0]
        return probability, threshold(probability.cpu().numpy(), self.config)


def threshold(probability: NDArray, config: MaskConfig) -> NDArray[np.uint8]:
    """Mask (h, w) of 0 and 255 from a probability (h, w): threshold, drop specks, dilate."""
    if config.threshold < 0:
        levels = np.clip(np.nan_to_num(probability) * 255, 0, 255).astype(np.uint8)
        _, mask = cv2.threshold(levels, 0, DYNAMIC, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    else:
        mask = (probability > config.threshold).view(np.uint8) * np.uint8(DYNAMIC)
    if not mask.any():
        return mask
    if config.min_area > 1:
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
        small = statistics[:, cv2.CC_STAT_AREA] < config.min_area
        if small.any():
            mask[small[labels]] = 0
    if config.dilate:
        size = 2 * config.dilate + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return mask
