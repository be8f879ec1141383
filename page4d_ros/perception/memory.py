"""How much memory a window needs, to say what would fit where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from page4d_ros.model.config import NetworkConfig

# Largest sums of live tensors, as `page4d bench` measures them, in float32.
TOKEN_VALUES = 17  # per token and channel: a block's own, and what is kept of each frame
PIXEL_VALUES = 3  # per pixel and feature of the dense head, for each frame that gets depth
FLOAT = 4
MIB = 1 << 20


def window_bytes(config: NetworkConfig, frames: int, size: tuple[int, int], newest: int) -> int:
    """About the most that a step needs beside the weights, in 32 bits.

    Args:
        config: of the network.
        frames: in the window.
        size: height and width of the images in pixels.
        newest: frames that get depth.
    """
    height, width = size
    tokens = frames * (height * width // config.patch_size**2 + config.num_special_tokens)
    transformer = tokens * config.embed_dim * TOKEN_VALUES
    at_once = min(newest, config.frames_chunk)
    dense = height * width * config.dpt_features * PIXEL_VALUES * at_once
    return FLOAT * max(transformer, dense)


def what_fits(
    config: NetworkConfig, frames: int, fit: ImageTransform, newest: int, available: int
) -> list[str]:
    """Settings with which a window would need no more than so many bytes."""
    out = []
    fewer = next(
        (n for n in range(frames - 1, 0, -1) if _fits(config, n, fit, newest, available)), None
    )
    if fewer is not None:
        out.append(f'window.size {fewer}')
    for width in range(fit.width - config.patch_size, 0, -config.patch_size):
        smaller = ImageTransform.crop(
            fit.source_width, fit.source_height, width, config.patch_size
        )
        if _fits(config, frames, smaller, newest, available):
            out.append(f'model.resolution {width}')
            break
    return out


def _fits(
    config: NetworkConfig, frames: int, fit: ImageTransform, newest: int, available: int
) -> bool:
    size = fit.height, fit.width
    return window_bytes(config, frames, size, min(newest, frames)) <= available
