"""The network over a sliding window."""

from __future__ import annotations

import gc
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

from page4d_ros.errors import ConfigError
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.types import WindowEstimate

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import ModelConfig
    from page4d_ros.model.page4d import Page4D
    from page4d_ros.perception.types import Frame

UNTRAINED = 'untrained'
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Engine(Protocol):
    """What turns frames into estimates of their window.

    Attributes:
        name: what the weights are called.
        purpose: what they are for; "" where their file does not say.
        caution: what whoever reads the estimates must know about them; "" for nothing.
        trained: false for random weights.
        device: where the network runs.
    """

    name: str
    purpose: str
    caution: str
    trained: bool
    device: torch.device

    def push(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Put a frame into the window; an image of another size clears the window first."""

    def step(self) -> WindowEstimate:
        """Estimate for the frames in the window, newest last."""

    def clear(self) -> None:
        """Forget all frames."""

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""


@dataclass(frozen=True, eq=False)
class _Slot:
    frame: Frame
    transform: ImageTransform
    image: Tensor


class WindowEngine:
    """Each step runs the whole window through the whole network.

    Args:
        network: on any device; it is moved to the configured one.
        config: device, precision and resolution.
        size: frames per window.
    """

    def __init__(self, network: Page4D, config: ModelConfig, size: int) -> None:
        self.device = choose_device(config.device)
        network.point_head = None  # points come from depth and pose
        self.network = network.to(self.device).eval()
        self.name = network.name
        self.purpose = network.purpose
        self.trained = network.name != UNTRAINED
        self.caution = ''
        if not self.trained:
            self.caution = 'weights are untrained: poses, depths and masks mean nothing'
        elif self.purpose:
            self.caution = f'weights {self.name} are for {self.purpose}'
        self.resolution = config.resolution or network.config.img_size
        self.autocast = choose_precision(config.precision, self.device)
        self._slots: deque[_Slot] = deque(maxlen=size)
        self._encode_seconds = 0.0

    def clear(self) -> None:
        """Forget all frames."""
        self._slots.clear()

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""
        self.clear()
        self.network = None
        if self.device.type == 'cuda':
            gc.collect()
            torch.cuda.empty_cache()

    def push(self, frame: Frame, image: NDArray[np.uint8]) -> None:
        """Put a frame into the window; an image of another size clears the window first.

        Args:
            frame: what the image belongs to.
            image: (H, W, 3) RGB.
        """
        start = time.perf_counter()
        height, width = image.shape[:2]
        patch = self.network.config.patch_size
        fit = ImageTransform.crop(width, height, self.resolution, patch)
        if self._slots and self._slots[-1].transform != fit:
            self.clear()
        self._slots.append(_Slot(frame, fit, image_to_network(image, fit, self.device)))
        self._encode_seconds = time.perf_counter() - start

    @torch.inference_mode()
    def step(self) -> WindowEstimate:
        """Estimate for the frames in the window, newest last."""
        start = time.perf_counter()
        slots = tuple(self._slots)
        fit = slots[0].transform
        images = torch.stack([slot.image for slot in slots])
        with torch.autocast(
            self.device.type, dtype=self.autocast, enabled=self.autocast is not None
        ):
            output = self.network(images)
        T_camera_gauge, K = decode_pose(output.pose_enc[0].double(), (fit.height, fit.width))
        T_camera_gauge, K = T_camera_gauge.cpu().numpy(), K.cpu().numpy()
        score = output.mask_score
        return WindowEstimate(
            frames=tuple(slot.frame for slot in slots),
            transform=fit,
            images=images,
            T_gauge_camera=inverse(transform(T_camera_gauge[:, :, :3], T_camera_gauge[:, :, 3])),
            cameras=tuple(PinholeCamera.from_matrix(k, fit.width, fit.height) for k in K),
            depth=output.depth[0].float(),
            confidence=1.0 - 1.0 / output.depth_conf[0].float(),
            dynamic=None if score is None else dynamic_probability(score[0].float()),
            seconds={
                'encode': self._encode_seconds,
                'forward': time.perf_counter() - start,
            },
        )


def choose_device(name: str) -> torch.device:
    """Device of ``model.device``.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'model.device {name!r} cannot be used ({reason}); set it to cpu or auto, or install '
            'a torch that fits the GPU'
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``model.precision``; None for float32."""
    if name != 'auto':
        return PRECISIONS[name]
    if device.type != 'cuda':
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
