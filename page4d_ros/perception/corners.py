"""Image corners tracked from frame to frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from page4d_ros.perception.types import FrameKey

WIDTH = 320  # greatest width of the images used for tracking; wider ones lose fast cameras
MOST = 250
ENOUGH = 175  # with fewer left, new ones are detected
QUALITY = 0.01
APART = 45  # least distance of two corners: the width divided by this
FLOW = {'winSize': (9, 9), 'maxLevel': 3, 'criteria': (3, 10, 0.03)}
# tracking back starts at the expected end and searches wider
RETURN = FLOW | {'winSize': (13, 13), 'maxLevel': 0, 'flags': cv2.OPTFLOW_USE_INITIAL_FLOW}
ROUND_TRIP = 0.7  # largest error in pixels after tracking forth and back


class Corners:
    """Corners (Shi and Tomasi, 1994) of one camera's images, tracked by pyramidal KLT.

    Attributes:
        keys: frames that they are tracked through.
        seen: (F, N, 2) their positions in these, in pixels of `fit`; NaN before their detection.
        fit: from the camera's image to the one used for tracking.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self.keys: list[FrameKey] = []
        self.seen = np.zeros((0, 0, 2), np.float32)
        self.fit: ImageTransform | None = None
        self._grey: NDArray[np.uint8] | None = None

    def follow(self, key: FrameKey, image: NDArray[np.uint8]) -> None:
        """Track the last frame's corners into this one; detect new ones if few are left.

        Args:
            key: identity of the frame.
            image: (H, W, 3) RGB; another size than before begins anew.
        """
        fit = _fit(image.shape[1], image.shape[0])
        if fit != self.fit:
            self.forget()
        self.fit = fit
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if fit.width < fit.source_width:
            grey = cv2.resize(grey, (fit.width, fit.height), interpolation=cv2.INTER_AREA)
        now = self._found(grey)
        self.seen = np.concatenate([self.seen, now[None]])
        self.keys.append(key)
        if self.seen.shape[1] < ENOUGH:
            self._refill(grey)
        self._grey = grey

    def _found(self, grey: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Positions (N, 2) of the corners in a new image; lost corners are dropped."""
        if not self.seen.shape[1]:
            return np.zeros((0, 2), np.float32)
        last = np.ascontiguousarray(self.seen[-1])
        now, found, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, last, None, **FLOW)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(grey, self._grey, now, last.copy(), **RETURN)
        keep = ((back - last) ** 2).sum(1) < ROUND_TRIP**2
        keep &= (found.ravel() == 1) & (returned.ravel() == 1)
        self.seen = self.seen[:, keep]
        return now[keep]

    def _refill(self, grey: NDArray[np.uint8]) -> None:
        apart = max(3, round(grey.shape[1] / APART))
        free = np.full_like(grey, 255)
        for u, v in np.rint(self.seen[-1]).astype(int).tolist():
            cv2.circle(free, (u, v), apart, 0, -1)
        wanted = MOST - self.seen.shape[1]
        new = cv2.goodFeaturesToTrack(grey, wanted, QUALITY, apart, mask=free)
        if new is None:
            return
        seen = np.full((len(self.keys), len(new), 2), np.nan, np.float32)
        seen[-1] = new[:, 0]
        self.seen = np.concatenate([self.seen, seen], axis=1)

    def keep(self, keys: Collection[FrameKey]) -> None:
        """Forget all frames but these and the newest."""
        last = len(self.keys) - 1
        rows = [i for i, key in enumerate(self.keys) if i == last or key in keys]
        self.keys, self.seen = [self.keys[i] for i in rows], self.seen[rows]

    def drop(self, lost: NDArray[np.bool_]) -> None:
        """Drop the corners where `lost` (N,) is True."""
        self.seen = self.seen[:, ~lost]

    def pixels(self, fit: ImageTransform) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
        """Pixels (N, 2) of the corners in the newest frame's network image; True (N,) if inside.

        Columns and rows; those outside are clipped to the border.

        Args:
            fit: from the camera's image to the network's.
        """
        at = np.rint(fit.to_network(self.fit.to_source(self.seen[-1]))).astype(np.intp)
        most = fit.width - 1, fit.height - 1
        inside = at.clip(0, most)
        return inside, (inside == at).all(1)


def _fit(width: int, height: int) -> ImageTransform:
    size = min(width, WIDTH)
    rows = max(1, round(height * size / width))
    return ImageTransform(width, height, size, rows, 0, 0, size, rows)
