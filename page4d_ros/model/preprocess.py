"""Images to the network's input, as the published preprocessing does it (VGGT's loader).

Two roads lead there: `load_images` reads files with Pillow and repeats the published numbers;
`image_to_network` takes a camera's image and resizes it on the network's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from page4d_ros.errors import FrameError
from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

WHITE = 1.0


def load_images(
    paths: Sequence[str | Path], mode: Literal['crop', 'pad'] = 'crop', size: int = 518
) -> tuple[Tensor, list[ImageTransform]]:
    """Read image files as one window.

    Args:
        paths: image files, in order; transparency becomes white.
        mode: 'crop' makes every image `size` wide and cuts the height to at most `size`; 'pad'
            fits the long side to `size` and pads to a square.
        size: side in pixels, a multiple of the patch size 14.

    Returns:
        Images (N, 3, H, W) in [0, 1], and the way from each file's pixels to its image. Images of
        different shapes are padded with white to the largest, centred.

    Raises:
        FrameError: a file is no readable image.
        ValueError: there are no paths, the mode is unknown or the size impossible.
    """
    if not paths:
        raise ValueError('no images: give at least one path')
    if mode not in {'crop', 'pad'}:
        raise ValueError(f"mode is {mode!r}; expected 'crop' or 'pad'")
    if size <= 0 or size % 14:
        raise ValueError(f'size is {size}; expected a multiple of 14')
    make = ImageTransform.crop if mode == 'crop' else ImageTransform.pad
    pictures = [_read_rgb(Path(path)) for path in paths]
    transforms = [make(*picture.size, size) for picture in pictures]
    width, height = max(t.width for t in transforms), max(t.height for t in transforms)
    transforms = [_centre(transform, width, height) for transform in transforms]
    images = [
        _place(_resize(picture, transform), transform)
        for picture, transform in zip(pictures, transforms, strict=True)
    ]
    return torch.stack(images), transforms


def image_to_network(
    image: NDArray[np.uint8] | Tensor,
    transform: ImageTransform,
    device: str | torch.device,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Resize and crop a camera's image on the network's device, uploaded once as bytes.

    The result is what `load_images` gives for the same pixels, but for a level in 256 where the
    two round differently.

    Args:
        image: RGB, (source_height, source_width, 3), any strides, read-only or not.
        transform: what to do with it.
        device: where the network is.
        dtype: floating-point type of the result.

    Returns:
        Image (3, height, width) in [0, 1].

    Raises:
        FrameError: the image is not what the transform was made for.
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
    pixels = pixels[0] / 255
    return _place(pixels, transform).to(dtype)


def _read_rgb(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            if picture.mode == 'RGBA':
                white = Image.new('RGBA', picture.size, (255, 255, 255, 255))
                return Image.alpha_composite(white, picture).convert('RGB')
            return picture.convert('RGB')
    except (OSError, UnidentifiedImageError) as error:
        raise FrameError(f'{path}: is not a readable image ({error})') from error


def _resize(picture: Image.Image, transform: ImageTransform) -> Tensor:
    size = transform.resized_width, transform.resized_height
    pixels = np.array(picture.resize(size, Image.Resampling.BICUBIC))
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


def _place(pixels: Tensor, transform: ImageTransform) -> Tensor:
    """Crop or pad resized pixels (3, h, w) to the network's size."""
    left, top = -transform.crop_x, -transform.crop_y
    right = transform.width - transform.resized_width - left
    bottom = transform.height - transform.resized_height - top
    # Negative padding crops.
    return functional.pad(pixels, (left, right, top, bottom), value=WHITE)


def _centre(transform: ImageTransform, width: int, height: int) -> ImageTransform:
    return replace(
        transform,
        crop_x=transform.crop_x - (width - transform.width) // 2,
        crop_y=transform.crop_y - (height - transform.height) // 2,
        width=width,
        height=height,
    )
