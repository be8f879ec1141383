"""The newest images, as corners and network see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.perception.witness import Witness


class Seen(NamedTuple):
    """The newest images, one of each camera.

    Attributes:
        key: identity of the main camera's.
        main: view of that camera.
        rays: (N, 2) normalised image coordinates of the tracks.
        view: (N,) cameras that see them.
        sigma: their standard deviation.
        witnesses: what the network says of the images, by view, if anything.
        cameras: intrinsics of the images by view.
        unit: units of the map per unit of the window's gauge, by the frames before; or NaN.
    """

    key: FrameKey
    main: int
    rays: NDArray[np.float64]
    view: NDArray[np.intp]
    sigma: float
    witnesses: Mapping[int, Witness]
    cameras: Mapping[int, PinholeCamera]
    unit: float

    @property
    def witness(self) -> Witness | None:
        """Witness of the main camera."""
        return self.witnesses.get(self.main)

    @property
    def heeded(self) -> Witness | None:
        """The witness, if its unit is known."""
        return self.witness if np.isfinite(self.unit) else None
