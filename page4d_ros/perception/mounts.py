"""Cameras of a rig in a map: where they sit, and how long a metre is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from page4d_ros.geometry.poses import adjoint, inverse
from page4d_ros.perception.late import Late
from page4d_ros.perception.points import Step, moved, turn_first

if TYPE_CHECKING:
    from numpy.typing import NDArray

TURN, SHIFT = 0.003, 0.003  # standard deviations of a known mount, in rad and metres
USUAL = 3.0  # metres to the scene, until turns of the rig tell how long a metre is
LEAST_DOUBT = 0.005  # relative deviation of the length of a metre that is never undercut
ROUGH = 0.1  # likewise, up to which mounts are worth more than the network's relative poses
ELSEWHERE = 0.02  # likewise, of a metre that is known from elsewhere
AGAIN = 0.15  # likewise, of a new map
SAME_VIEWS = 8.0  # factor of deviations: adjustments see much the same, again and again
HOLD = 4.0  # factor by which the metre found before is surer than its doubt, from time to time
LEAST = 1e-4  # information on the relative length of a metre that there always is


class Mounted(NamedTuple):
    """Cameras that see N points.

    Attributes:
        T_view_main: (V, 4, 4) from the main camera, in units of the map.
        view: (N,) camera of each point.
        late: (V,) deviation of the motion until their images, see `Late`.
    """

    T_view_main: NDArray[np.float64]
    view: NDArray[np.intp]
    late: NDArray[np.float64]

    def poses(self, T_main_world: NDArray) -> NDArray[np.float64]:
        """T_camera_world (N, 4, 4) of each point's camera."""
        return (self.T_view_main @ T_main_world)[self.view]


def of_rig(J: NDArray, T_view_main: NDArray, view: NDArray) -> NDArray[np.float64]:
    """Derivatives (6, 2, M) by the motion of the main camera of a rig.

    Args:
        J: (6, 2, M) by those of the cameras that see the points.
        T_view_main: (V, 4, 4) from the main camera to each.
        view: (M,) camera that sees each point.
    """
    out = J.copy()
    for v, T in enumerate(T_view_main):
        if (np.eye(4) != T).any():
            of = view == v
            out[..., of] = by_main(J[..., of], T)
    return out


def by_main(J: NDArray, T_view_main: NDArray) -> NDArray[np.float64]:
    """Derivatives (6, 2, M) by the motion of a main camera.

    Args:
        J: (6, 2, M) by that of the camera that sees the points.
        T_view_main: (4, 4) from the main camera to it.
    """
    return np.einsum('ij,icm->jcm', turn_first(adjoint(T_view_main)), J)


class Mounts:
    """Poses of a rig's cameras, of which the known ones are priors; all in the unit of a map.

    Only that of the main camera is exact. Turns of the rig move the others by lengths that are
    known in metres, and so does what two cameras see alike: both tell how long a metre is.

    Attributes:
        main: view of the main camera.
        late: motion until the newest images of the others are taken.
        known: T_view_main (4, 4) in metres, by view.
        T_view_main: (V, 4, 4) in units of the map.
        unit: units of the map per metre; NaN before there is a map.
        doubt: relative standard deviation of `unit`.
        covariance: (V, 6, 6) of turn and shift of the cameras, in their axes and the map's unit.
    """

    def __init__(self, count: int, main: int = 0) -> None:
        self.main = main
        self.known: dict[int, NDArray] = {main: np.eye(4)}
        self.T_view_main = np.tile(np.eye(4), (count, 1, 1))
        self.covariance = np.zeros((count, 6, 6))
        self.late = Late.none(count)
        self.unit, self.doubt = np.nan, 1.0

    @property
    def newest(self) -> NDArray[np.float64]:
        """(V, 4, 4) from the main camera at its newest image to the others at theirs."""
        return self.T_view_main @ self.late.T_then_now

    @property
    def several(self) -> bool:
        """True if there is more than the main camera."""
        return len(self.known) > 1

    def know(self, view: int, T_view_main: NDArray) -> None:
        """Set the known pose (4, 4), in metres, of a camera other than the main one."""
        before = self.known.get(view)
        if view == self.main or (before is not None and np.array_equal(before, T_view_main)):
            return
        self.known[view] = T_view_main
        self._place(view)

    def _place(self, view: int) -> None:
        self.T_view_main[view] = self.expected(view, self.unit if np.isfinite(self.unit) else 0.0)
        self.covariance[view] = np.diag(np.repeat([1.0, np.inf], 3))

    def expected(self, view: int, unit: float) -> NDArray[np.float64]:
        """Known pose (4, 4) at a number of units per metre."""
        T = self.known[view].copy()
        T[:3, 3] *= unit
        return T

    def begin(self, depth: float) -> None:
        """Begin a map; the length of a metre is that of the last one, or hardly known.

        Args:
            depth: of the scene, in units of the map.
        """
        if np.isfinite(self.unit):
            self.doubt = max(self.doubt, AGAIN)
            return
        self._set(depth / USUAL)

    def _set(self, unit: float) -> None:
        self.unit = unit
        for view in self.known.keys() - {self.main}:
            self._place(view)

    @property
    def tied(self) -> set[int]:
        """Cameras whose poses follow from that of the main one."""
        return set(self.known) if self.doubt < ROUGH else {self.main}

    def measure(self, unit: float) -> None:
        """Take over the units per metre from elsewhere."""
        if np.isfinite(self.unit):
            self.scale(unit / self.unit)
        else:
            self._set(unit)
        self.doubt = ELSEWHERE

    def scale(self, ratio: float) -> None:
        """Make a metre longer by a ratio of lengths."""
        self.unit *= ratio
        self.T_view_main[:, :3, 3] *= ratio
        lengths = np.repeat([1.0, ratio], 3)
        self.covariance = self.covariance * lengths[:, None] * lengths

    def adjusted(self, found: MountSolution) -> None:
        """Take over the result of an adjustment."""
        self.unit = found.unit
        doubt = min(found.deviation / found.unit, SAME_VIEWS * self.doubt)
        self.doubt = max(LEAST_DOUBT, doubt)
        self.T_view_main = found.T_view_main
        self.covariance[found.views] = found.covariance

    def T_main_view(self, view: int) -> NDArray[np.float64]:
        """Pose (4, 4) of a camera in the main one's frame, in units of the map."""
        return inverse(self.T_view_main[view])


class MountSolution:
    """Unknowns of a bundle adjustment beside poses and points: mounts, and the unit.

    The last unknown is the unit; before it come turn and shift of each camera in its own frame.

    Attributes:
        views: cameras other than the main one.
        T_view_main: (V, 4, 4).
        unit: units of the map per metre.
        deviation: its standard deviation, once it is solved, by mounts and what is seen alone.
        covariance: (len(views), 6, 6) likewise.
    """

    def __init__(self, mounts: Mounts) -> None:
        self._mounts = mounts
        self.views = sorted(mounts.known.keys() - {mounts.main})
        self.T_view_main, self.unit = mounts.T_view_main.copy(), mounts.unit
        self.deviation, self.covariance = mounts.doubt * mounts.unit, np.zeros((0, 6, 6))

    @property
    def size(self) -> int:
        """Number of unknowns."""
        return 6 * len(self.views) + 1

    def pull(self, S: NDArray, g: NDArray) -> None:
        """Add what is known beforehand to the normal equations; the unknowns are the last ones.

        Args:
            S: (n, n) information; changed.
            g: (n,) its product with the unknowns; changed.
        """
        mounts, n = self._mounts, self.size
        known = np.zeros((n, n))
        for i, view in enumerate(self.views):
            step = Step(mounts.expected(view, self.unit), TURN, SHIFT * mounts.unit)
            information, off = step.pull(self.T_view_main[view], np.eye(4))
            at = slice(6 * i, 6 * i + 6)
            along = mounts.known[view][:3, 3]
            known[at, at] += np.diag(information)
            g[-n:][at] += information * off
            pulled = information[3:] * along
            known[at, -1][3:] -= pulled
            known[-1, at][3:] -= pulled
            known[-1, -1] += pulled @ along
            g[-1] -= pulled @ off[3:]
        self._known = known.copy()
        sure = (HOLD / (mounts.doubt * mounts.unit)) ** 2
        known[-1, -1] += sure
        self._pulled = known
        S[-n:, -n:] += known
        g[-1] += sure * (mounts.unit - self.unit)

    def move(self, step: NDArray) -> None:
        """Take a step (n,) of the unknowns."""
        self.T_view_main[self.views] = moved(
            self.T_view_main[self.views], step[:-1].reshape(-1, 6)
        )
        self.unit = max(self.unit + step[-1], self.unit / 4)

    def solved(self, covariance: NDArray) -> None:
        """Take in the covariance (n, n) of the unknowns."""
        values, axes = np.linalg.eigh(np.linalg.inv(covariance) - self._pulled)
        seen = (axes * np.maximum(values, 0.0)) @ axes.T  # without rounding errors
        information = seen / SAME_VIEWS**2 + self._known
        information[-1, -1] += LEAST / self.unit**2
        covariance = np.linalg.inv(information)
        self.deviation = float(np.sqrt(covariance[-1, -1]))
        each = np.arange(len(self.views))
        blocks = covariance[:-1, :-1].reshape(len(each), 6, len(each), 6)
        self.covariance = blocks[each, :, each]
