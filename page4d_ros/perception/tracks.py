"""Image corners tracked from frame to frame, each with an identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.geometry.camera import ImageTransform

if TYPE_CHECKING:
    from numpy.typing import NDArray

AREA = 640 * 480  # pixels of the images used for tracking; larger ones are shrunk
MOST = 200
NEW = 0.1  # share of MOST; with fewer missing, none are detected
QUALITY = 0.005  # least corner strength, relative to the strongest in the image
APART = 0.55  # least distance of two corners, of the side of the square that each has to itself
CONTRAST = 2.0  # standard deviation of grey values, below which an image is blank
BORDER = 2  # pixels at the image border where corners are not tracked
FLOW = {'winSize': (15, 15), 'maxLevel': 3, 'criteria': (3, 15, 0.02)}
# tracking back starts at the expected end
RETURN = FLOW | {'maxLevel': 1, 'flags': cv2.OPTFLOW_USE_INITIAL_FLOW}
ROUND_TRIP = 0.5  # largest error in pixels after tracking forth and back


class Identities:
    """Rising numbers, none of which is given twice."""

    def __init__(self) -> None:
        self._next = 0

    def take(self, count: int) -> NDArray[np.int64]:
        """The next numbers."""
        self._next += count
        return np.arange(self._next - count, self._next)


class Tracks:
    """Corners (Shi and Tomasi, 1994) of one camera's images, tracked by pyramidal KLT.

    Args:
        identities: of corners, shared by the cameras of a rig.

    Attributes:
        ids: (N,) rising identities of the corners in the newest image; none is used twice.
        at: (N, 2) their positions in pixels of the image used for tracking.
        fit: from the camera's image to the one used for tracking; None before the first image.
        grey: (h, w) the newest image used for tracking, likewise.
        kept: share of the corners before that the newest image still shows.
    """

    def __init__(self, identities: Identities | None = None) -> None:
        self._identities = identities or Identities()
        self.forget()

    def forget(self) -> None:
        """Drop the image and all corners; identities go on."""
        self.forget_corners()
        self.fit: ImageTransform | None = None
        self.grey: NDArray[np.uint8] | None = None

    def forget_corners(self) -> None:
        """Drop all corners; identities go on."""
        self.ids = np.zeros(0, np.int64)
        self.at = np.zeros((0, 2), np.float32)
        self.kept = 0.0

    def follow(self, image: NDArray[np.uint8]) -> None:
        """Track the corners into a new image.

        Args:
            image: (H, W, 3) RGB; another size than before begins anew.
        """
        fit = _fit(image.shape[1], image.shape[0])
        if fit != self.fit:
            self.forget()
        self.fit = fit
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        if fit.width < fit.source_width:
            grey = cv2.resize(grey, (fit.width, fit.height), interpolation=cv2.INTER_LINEAR)
        last, self.grey = self.grey, grey
        if not len(self.ids):
            return
        now, found, _ = cv2.calcOpticalFlowPyrLK(last, grey, self.at, None, **FLOW)
        back, returned, _ = cv2.calcOpticalFlowPyrLK(grey, last, now, self.at.copy(), **RETURN)
        keep = (found.ravel() == 1) & (returned.ravel() == 1)
        keep &= ((back - self.at) ** 2).sum(1) < ROUND_TRIP**2
        limit = np.array([fit.width, fit.height]) - 1 - BORDER
        keep &= ((now >= BORDER) & (now <= limit)).all(1)
        self.kept = float(keep.mean())
        self.ids, self.at = self.ids[keep], now[keep]

    def refill(self) -> None:
        """Detect new corners where the newest image has none."""
        wanted = MOST - len(self.ids)
        if wanted <= NEW * MOST:
            return
        grey = self.grey
        apart = max(3, round(APART * (grey.size / MOST) ** 0.5))
        free = np.full_like(grey, 255)
        for u, v in np.rint(self.at).astype(int).tolist():
            cv2.circle(free, (u, v), apart, 0, -1)
        new = cv2.goodFeaturesToTrack(grey, wanted, QUALITY, apart, mask=free, blockSize=5)
        if new is None:
            return
        self.ids = np.concatenate([self.ids, self._identities.take(len(new))])
        self.at = np.concatenate([self.at, new[:, 0]])

    def drop(self, lost: NDArray[np.bool_]) -> None:
        """Drop the corners where `lost` (N,) is True."""
        self.ids, self.at = self.ids[~lost], self.at[~lost]

    @property
    def blank(self) -> bool:
        """True if the newest image shows nothing: a covered lens, a dark room, an empty wall."""
        return cv2.meanStdDev(self.grey)[1].item() < CONTRAST

    @property
    def source(self) -> NDArray[np.float64]:
        """(N, 2) positions in pixels of the camera's own image."""
        return self.fit.to_source(self.at).reshape(-1, 2)


def _fit(width: int, height: int) -> ImageTransform:
    factor = min(1.0, (AREA / (width * height)) ** 0.5)
    columns, rows = max(1, round(width * factor)), max(1, round(height * factor))
    return ImageTransform(width, height, columns, rows, 0, 0, columns, rows)
