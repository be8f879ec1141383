"""Maps of the network's pixels at the pixels of the camera, with edges where the image has them.

Surfaces are interpolated in inverse depth, in which planes are linear. Where depth jumps, a pixel
belongs to one side of the edge and never between them: the image decides, as in joint bilateral
upsampling (Kopf et al., 2007), and each neighbour of that side counts with its own plane, whose
slope is the smaller one of those towards its two neighbours (minmod), so that none reaches across.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.types import ViewEstimate

JUMP = 0.05  # relative step of inverse depth between pixels that may be an edge
BEND = 1.3  # times the smaller step beside it that an edge is
OFFSETS = np.array([(v, u) for v in range(-1, 3) for u in range(-1, 3)])  # from a cell's corner
REACH = 1.0  # network pixels: standard deviation of a neighbour's weight by distance
CONTRAST = 30.0  # levels: likewise by colour
RAMP = np.float32(1e-3)  # weight of a pixel on a ramp, which belongs to neither side

LEAST = np.float32(1e-12)  # weight of neighbours, however unlike


@dataclass(frozen=True, eq=False)
class Grid:
    """Pixels of a camera among those of the network.

    Attributes:
        x: (W,) columns of the network's image, y: (H,) rows, not rounded.
        outside: (H, W), True where the network does not see.
    """

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    outside: NDArray[np.bool_]


@lru_cache(maxsize=8)
def grid(transform: ImageTransform) -> Grid:
    """Pixels of the source of a transform among those of its result."""
    longest = max(transform.source_width, transform.source_height)
    at = transform.to_network(np.repeat(np.arange(longest)[:, None], 2, 1)).astype(np.float32)
    x, y = at[: transform.source_width, 0], at[: transform.source_height, 1]
    beside, above = (
        np.abs(each - (size - 1) / 2) >= size / 2
        for each, size in ((x, transform.width), (y, transform.height))
    )
    return Grid(x, y, above[:, None] | beside)


class CameraPixels:
    """Results of a view at its camera's pixels; each is computed when it is first read.

    Args:
        view: with the camera's image.

    Attributes:
        camera: intrinsics of the camera's image.
        rgb: the camera's image (H, W, 3), as it came.
    """

    def __init__(self, view: ViewEstimate) -> None:
        self._view = view
        fit = view.transform
        self.camera = view.frame.camera if view.calibrated else fit.camera_to_source(view.camera)
        self.rgb = view.image

    @cached_property
    def _upsampling(self) -> Upsampling:
        view = self._view
        return Upsampling(view.depth, view.rgb, self.rgb, view.transform)

    @property
    def depth(self) -> NDArray[np.float32]:
        """(H, W), see `Upsampling.depth`."""
        return self._upsampling.depth

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """(H, W), 0 static, 255 dynamic; 0 where the network does not see."""
        return self._upsampling.picked(self._view.mask)

    @property
    def probability(self) -> NDArray[np.float32]:
        """(H, W) that a pixel moves; 0 where the network does not see."""
        return self._upsampling.picked(self._view.probability)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """(H, W) in [0, 1); 0 where the network does not see."""
        return self._upsampling.picked(self._view.confidence)


class Upsampling:
    """Assignment of the camera's pixels to those of the network.

    Args:
        depth: (h, w), NaN where invalid.
        colours: the network's image (h, w, 3).
        image: the camera's image (H, W, 3) uint8 RGB.
        transform: from the camera's image to the network's.
    """

    def __init__(
        self,
        depth: NDArray[np.float32],
        colours: NDArray[np.uint8],
        image: NDArray[np.uint8],
        transform: ImageTransform,
    ) -> None:
        self._inverse = 1 / depth
        self._colours, self._image = colours.reshape(-1, 3), image.reshape(-1, 3)
        self._transform, self._grid = transform, grid(transform)

    @cached_property
    def depth(self) -> NDArray[np.float32]:
        """(H, W); NaN where the nearest pixel is invalid, and where the network does not see."""
        fit, inverse = self._transform, np.nan_to_num(self._inverse)
        below = fit.resized_height - fit.height - fit.crop_y
        right = fit.resized_width - fit.width - fit.crop_x
        border = fit.crop_y, below, fit.crop_x, right
        whole = cv2.copyMakeBorder(inverse, *border, cv2.BORDER_REPLICATE)
        size = fit.source_width, fit.source_height
        out = cv2.resize(whole, size, interpolation=cv2.INTER_LINEAR)  # by the half-pixel rule
        pixels, _, values = self._edges
        out.reshape(-1)[pixels] = values
        out[~self._valid] = np.nan
        return 1 / out

    def picked(self, values: NDArray) -> NDArray:
        """A map (h, w) at the camera's pixels (H, W): each takes that of one network pixel.

        It is the nearest, or beside an edge the one on the pixel's own side that is most alike;
        0 where the network does not see.
        """
        out = self._nearest(values)
        pixels, source, _ = self._edges
        out.reshape(-1)[pixels] = values.reshape(-1)[source]
        out[self._grid.outside] = 0
        return out

    def _nearest(self, values: NDArray) -> NDArray:
        x, y = (
            np.clip(np.rint(at), 0, size - 1).astype(np.intp)
            for at, size in zip((self._grid.x, self._grid.y), values.shape[::-1], strict=True)
        )
        return values[y].take(x, 1)

    @cached_property
    def _valid(self) -> NDArray[np.bool_]:
        """(H, W), True where the nearest pixel is seen and valid."""
        return self._nearest(np.isfinite(self._inverse)) & ~self._grid.outside

    @cached_property
    def _edges(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Flat indices (n,) of camera pixels beside edges, of network pixels, inverse depths."""
        inverse = self._inverse
        height, width = inverse.shape
        corner_x, corner_y = (
            np.clip(np.floor(at), 0, size - 2).astype(np.intp)
            for at, size in zip((self._grid.x, self._grid.y), (width, height), strict=True)
        )
        jumps, falls = _jumps(inverse), _jumps(inverse.T)
        cells = jumps[1:] | jumps[:-1] | falls.T[:, 1:] | falls.T[:, :-1]
        beside = cells[corner_y].take(corner_x, 1)
        pixels = np.flatnonzero(beside & self._valid)
        v, u = np.divmod(pixels, len(corner_x))
        rows = np.clip(corner_y[v] + OFFSETS[:, :1], 0, height - 1)  # (16, n)
        columns = np.clip(corner_x[u] + OFFSETS[:, 1:], 0, width - 1)
        source = rows * width + columns
        right = self._grid.x[u] - columns.astype(np.float32)
        down = self._grid.y[v] - rows.astype(np.float32)
        there = inverse.take(source)
        known = np.isfinite(there)
        middle = (np.fmin.reduce(there) + np.fmax.reduce(there)) / 2
        there[~known] = 0
        across, along = _slope(inverse, jumps), _slope(inverse.T, falls).T
        plane = there + across.take(source) * right + along.take(source) * down
        own = self._image[pixels].astype(np.float32)
        unlike = sum(
            np.square(self._colours[:, c].take(source).astype(np.float32) - own[:, c])
            for c in range(3)
        )
        weight = np.exp(
            (right * right + down * down) * np.float32(-0.5 / REACH**2)
            - unlike * np.float32(0.5 / CONTRAST**2)
        )
        ramp = _ramp(inverse, jumps) | _ramp(inverse.T, falls).T
        weight = (weight + LEAST) * (known * np.where(ramp, RAMP, np.float32(1)).take(source))
        near = there > middle
        weight *= near == (2 * (weight * near).sum(0) > weight.sum(0))
        values = (weight * plane).sum(0) / weight.sum(0)
        best = np.take_along_axis(source, weight.argmax(0)[None], 0)[0]
        return pixels, best, values


def _jumps(inverse: NDArray[np.float32]) -> NDArray[np.bool_]:
    """True (h, w - 1) where inverse depth (h, w) jumps between neighbours of a row, or is unknown.

    Steps of a slanted plane are as large as those beside them, and no jumps.
    """
    step = np.abs(np.diff(inverse, axis=1))
    beside = np.pad(np.nan_to_num(step), ((0, 0), (1, 1)), constant_values=np.inf)
    beside = np.minimum(beside[:, :-2], beside[:, 2:])
    far = np.minimum(inverse[:, 1:], inverse[:, :-1])
    return ~((step < JUMP * far) | (step < BEND * beside))


def _slope(inverse: NDArray[np.float32], jumps: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Change (h, w) per column of inverse depth: the lesser of both sides, 0 if they disagree."""
    before, after = _beside(np.where(jumps, 0, np.diff(inverse, axis=1)), mode='edge')
    less = np.where(np.abs(before) < np.abs(after), before, after)
    return np.where(before * after > 0, less, 0)


def _ramp(inverse: NDArray[np.float32], jumps: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """True (h, w) for pixels between a jump up and another one up, or two down, along a row."""
    before, after = _beside(np.where(jumps, np.nan_to_num(np.diff(inverse, axis=1)), 0))
    return before * after > 0


def _beside(steps: NDArray, **padding: str) -> tuple[NDArray, NDArray]:
    """Steps (h, w - 1) before and after each pixel (h, w)."""
    return tuple(np.pad(steps, ((0, 0), side), **padding) for side in ((1, 0), (0, 1)))
