"""Settings with which a window would fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from page4d_ros.model.network import Network

MIB = 1 << 20


def what_fits(
    network: Network, frames: int, fit: ImageTransform, newest: int, available: int
) -> list[str]:
    """Settings with which a window would need no more than so many bytes.

    Args:
        network: the network.
        frames: in the window.
        fit: source image to network image.
        newest: frames that get depth.
        available: bytes that are free.
    """

    def fits(count: int, into: ImageTransform) -> bool:
        size = into.height, into.width
        return network.window_bytes(count, size, min(newest, count)) <= available

    out = []
    fewer = next((count for count in range(frames - 1, 0, -1) if fits(count, fit)), None)
    if fewer is not None:
        out.append(f'window.size {fewer}')
    source, patch = (fit.source_width, fit.source_height), network.patch_size
    for width in range(fit.width - patch, 0, -patch):
        if fits(frames, ImageTransform.crop(*source, width, patch)):
            out.append(f'model.resolution {width}')
            break
    return out
