"""Images to the network's input, as the published preprocessing does it (VGGT's loader)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray


def image_to_network(
    image: NDArray[np.uint8] | Tensor,
    transform: ImageTransform,
    device: str | torch.device,
) -> Tensor:
    """Resize and crop a camera's image on the network's device, uploaded once as bytes.

    The result is that of the published preprocessing, which resizes with Pillow, but for a level
    in 256 where the two round differently.

    Args:
        image: RGB, (source_height, source_width, 3), any strides, read-only or not.
        transform: size and crop of the result.
        device: device of the network.

    Returns:
        Image (3, height, width) of bytes, which `in_unit_range` makes the network's input.

    Raises:
        FrameError: the image does not have the type and size that the transform was made for.
    """
    wanted = (transform.source_height, transform.source_width, 3)
    if tuple(image.shape) != wanted or image.dtype not in {np.dtype(np.uint8), torch.uint8}:
        raise FrameError(
            f'image is {image.dtype} of shape {tuple(image.shape)}; expected uint8 of {wanted}'
        )
    if isinstance(image, np.ndarray):
        # torch neither wraps negative strides nor likes read-only memory.
        plain = image.flags.c_contiguous and image.flags.writeable
        image = torch.from_numpy(image if plain else image.copy())
    if torch.device(device).type == 'cuda':
        image = image.pin_memory()  # so that nobody waits for the upload
    pixels = image.to(device, non_blocking=True).permute(2, 0, 1)[None].float()
    # Pillow's order: along rows, round to bytes, then along columns. Overshoot is cut twice.
    for size in (
        (transform.source_height, transform.resized_width),
        (transform.resized_height, transform.resized_width),
    ):
        pixels = functional.interpolate(pixels, size, mode='bicubic', antialias=True)
        pixels = pixels.clamp(0, 255).round()
    top, left = transform.crop_y, transform.crop_x
    pixels = pixels[0, :, top : top + transform.height, left : left + transform.width]
    return pixels.byte()


def in_unit_range(images: Tensor) -> Tensor:
    """Images in [0, 1] of images of bytes; others, which are so already, as they are."""
    return images / 255 if images.dtype == torch.uint8 else images
