"""The newest image, as corners and network see it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.geometry.camera import PinholeCamera
    from page4d_ros.perception.types import FrameKey
    from page4d_ros.perception.witness import Witness


class Seen(NamedTuple):
    """The newest image.

    Attributes:
        key: its identity.
        camera: intrinsics of the image itself.
        rays: (N, 2) normalised image coordinates of the tracks.
        sigma: their standard deviation.
        witness: what the network says of it, if anything.
        unit: units of the map per unit of the window's gauge, by the frames before; or NaN.
    """

    key: FrameKey
    camera: PinholeCamera
    rays: NDArray[np.float64]
    sigma: float
    witness: Witness | None
    unit: float

    @property
    def heeded(self) -> Witness | None:
        """The witness, if its unit is known."""
        return self.witness if np.isfinite(self.unit) else None
