"""Tracked corners of all cameras of a rig."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.tracks import Identities, Tracks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
    from page4d_ros.perception.dynamics import Judged
    from page4d_ros.perception.witness import Witness


class Corners:
    """Corners in the newest images of several cameras, by rising identities.

    Args:
        count: of cameras.

    Attributes:
        views: corners of each camera.
        seeing: those of them whose image shows something.
        there: cameras whose newest image belongs to the newest set.
    """

    def __init__(self, count: int = 1) -> None:
        identities = Identities()
        self.views = [Tracks(identities) for _ in range(count)]
        self.seeing: list[int] = []
        self.there: list[int] = []

    def forget(self) -> None:
        """Drop images and corners; identities go on."""
        for tracks in self.views:
            tracks.forget()
        self.seeing, self.there = [], []

    def forget_corners(self) -> None:
        """Drop all corners; identities go on."""
        for tracks in self.views:
            tracks.forget_corners()

    def follow(self, images: Mapping[int, NDArray[np.uint8]]) -> None:
        """Track the corners into new images (H, W, 3), RGB, by view."""
        for view, image in images.items():
            self.views[view].follow(image)
        self.there = sorted(images)
        self.seeing = [view for view in self.there if view not in self.blank]

    def leave(self, views: Iterable[int]) -> None:
        """Do without some cameras until the next images."""
        self.seeing = [view for view in self.seeing if view not in set(views)]

    @property
    def blank(self) -> set[int]:
        """Cameras whose newest image shows nothing."""
        return {view for view in self.there if self.views[view].blank}

    def focal(self, cameras: Mapping[int, PinholeCamera]) -> float:
        """Median focal length in pixels of the images that are tracked in; 0 for no camera."""
        each = [self.views[view].fit.scale_x * camera.fx for view, camera in cameras.items()]
        return float(np.median(each)) if each else 0.0

    @property
    def sees(self) -> bool:
        """True if there is an image."""
        return any(tracks.fit is not None for tracks in self.views)

    @property
    def _order(self) -> NDArray[np.intp] | slice:
        """Order of all corners, camera after camera, by identity."""
        if len(self.seeing) == 1:
            return slice(None)
        return np.argsort(np.concatenate([self.views[v].ids for v in self.seeing]))

    @property
    def ids(self) -> NDArray[np.int64]:
        """(N,) rising identities of the corners."""
        if not self.seeing:
            return np.zeros(0, np.int64)
        return np.concatenate([self.views[v].ids for v in self.seeing])[self._order]

    @property
    def view(self) -> NDArray[np.intp]:
        """(N,) camera that sees each corner."""
        if not self.seeing:
            return np.zeros(0, np.intp)
        counts = [len(self.views[v].ids) for v in self.seeing]
        return np.repeat(self.seeing, counts)[self._order]

    @property
    def source(self) -> NDArray[np.float64]:
        """(N, 2) positions in pixels of the cameras' own images."""
        return self._each(lambda view: self.views[view].source)

    def rays(self, cameras: Mapping[int, PinholeCamera]) -> NDArray[np.float64]:
        """(N, 2) normalised image coordinates."""

        def ours(view: int) -> NDArray[np.float64]:
            camera = cameras[view]
            return (self.views[view].source - (camera.cx, camera.cy)) / (camera.fx, camera.fy)

        return self._each(ours)

    def _each(self, of: Callable[[int], NDArray]) -> NDArray[np.float64]:
        parts = [of(view) for view in self.seeing if len(self.views[view].ids)]
        return np.concatenate(parts)[self._order] if parts else np.zeros((0, 2))

    @property
    def kept(self) -> float:
        """Share of the corners before that the newest images still show."""
        return float(np.mean([self.views[v].kept for v in self.seeing])) if self.seeing else 0.0

    def drop(self, lost: NDArray[np.bool_]) -> None:
        """Drop the corners where `lost` (N,) is True."""
        if lost.any():
            ids = self.ids[lost]
            for view in self.seeing:
                tracks = self.views[view]
                tracks.drop(np.isin(tracks.ids, ids))

    def refill(self) -> None:
        """Detect new corners where the newest images have none."""
        for view in self.seeing:
            self.views[view].refill()

    def drop_moving(self, witnesses: Mapping[int, Witness]) -> None:
        """Drop corners that the network's mask head sees moving, by what it says of each view."""
        for view in self.seeing:
            tracks = self.views[view]
            if view in witnesses and len(tracks.ids):
                tracks.drop(witnesses[view].moves(tracks.source))

    def hide(self, motion: Judged, fit: ImageTransform, view: int) -> None:
        """Drop corners of a camera on moving objects.

        Args:
            motion: moving pixels of its newest frame.
            fit: from the camera's image to the network's.
            view: the camera.
        """
        tracks = self.views[view]
        if len(tracks.ids):
            at, inside = fit.network_pixels(tracks.source)
            tracks.drop(inside & motion.near(at))
