"""Table of a recording's frames, and the key figures that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from page4d_ros.bags.images import parse_stamp
from page4d_ros.bags.replay import TRAJECTORY
from page4d_ros.geometry.poses import from_quaternion, quaternion
from page4d_ros.messages.outputs import overlay_array
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.perception.types import Estimate

FRAMES = 'frames.parquet'
THUMBNAILS = 'thumbnails'
WIDTH = 200  # of thumbnails, in pixels
MINUTE_NS = 60 * NS_PER_S
WORST = 5  # frames that are named
POSE = ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')
SCHEMA = pa.schema(
    [
        ('stamp_ns', pa.int64()),
        *((name, pa.float64()) for name in POSE),
        ('moving', pa.float32()),
        ('bodies', pa.int32()),
        ('network_trust', pa.float32()),
        ('relies_on', pa.string()),
        ('scale_state', pa.string()),
        ('metric', pa.bool_()),
        ('lost', pa.bool_()),
        ('restarted', pa.bool_()),
    ]
)


class Watcher:
    """Notes a row for each estimate, and keeps a picture of the worst frame of each minute.

    Args:
        origin_ns: begin of the recording, from which minutes count.
    """

    def __init__(self, origin_ns: int = 0) -> None:
        self.origin_ns = origin_ns
        self.rows: list[tuple] = []
        self._worst: dict[int, tuple[float, NDArray]] = {}

    def add(self, estimate: Estimate) -> None:
        """Take the next estimate."""
        odometry, stamp_ns = estimate.odometry, estimate.frame.stamp_ns
        moving = float((estimate.mask > 0).mean())
        self.rows.append(
            (
                stamp_ns,
                moving,
                len(estimate.bodies),
                float(odometry.network_trust),
                odometry.relies_on,
                odometry.scale_state,
                bool(odometry.metric),
                bool(odometry.lost),
                bool(odometry.restarted),
            )
        )
        minute = max(0, stamp_ns - self.origin_ns) // MINUTE_NS
        bad = badness(odometry.lost, odometry.network_trust, moving)
        if minute not in self._worst or bad > self._worst[minute][0]:
            self._worst[minute] = bad, _picture(estimate)

    def write(self, folder: Path) -> pa.Table:
        """Write the table and the pictures into the folder of a replay.

        Returns:
            Rows of `SCHEMA`; the pose is that of the trajectory file, NaN where it has none.
        """
        poses = read_trajectory(folder / f'{TRAJECTORY}.tum')
        unknown = np.full(len(POSE), np.nan)
        columns = [list(column) for column in zip(*self.rows, strict=True)] or [[]] * 9
        pose = np.array([poses.get(stamp, unknown) for stamp in columns[0]]).reshape(-1, len(POSE))
        table = pa.table([columns[0], *pose.T, *columns[1:]], schema=SCHEMA)
        pq.write_table(table, folder / FRAMES)
        (folder / THUMBNAILS).mkdir()
        for minute, (_, image) in sorted(self._worst.items()):
            cv2.imwrite(str(folder / thumbnail(minute)), image, [cv2.IMWRITE_JPEG_QUALITY, 80])
        return table


def thumbnail(minute: int) -> str:
    """Path of the picture of a minute in the folder of a result."""
    return f'{THUMBNAILS}/minute-{minute:04d}.jpg'


def badness(lost: Any, trust: Any, moving: Any) -> Any:
    """Rank of frames to look at: lost ones first, then those without trust, then full motion."""
    return 2.0 * lost + (1.0 - trust) + moving


def _picture(estimate: Estimate) -> NDArray[np.uint8]:
    """Image with what moves in red, (h, w, 3) BGR of `WIDTH`."""
    image = overlay_array(estimate.maps.rgb, estimate.mask)
    height = round(image.shape[0] * WIDTH / image.shape[1])
    image = cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)


def read_trajectory(path: Path) -> dict[int, NDArray[np.float64]]:
    """Positions and quaternions (7,) of a trajectory file by stamp in nanoseconds."""
    out = {}
    with path.open(encoding='utf-8') as file:
        for line in file:
            stamp, *numbers = line.split()
            out[parse_stamp(stamp)] = np.array(numbers, dtype=float)
    return out


def poses_of(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Poses (n, 4, 4) of rows (n, 7) of position and quaternion."""
    return np.array([from_quaternion(row[3:], row[:3]) for row in rows]).reshape(-1, 4, 4)


def rows_of(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (n, 7) of poses (n, 4, 4)."""
    return np.array([[*T[:3, 3], *quaternion(T)] for T in poses]).reshape(-1, len(POSE))


def figures(table: pa.Table) -> dict[str, Any]:
    """Key figures of all rows of a table.

    Returns:
        `seconds` of video, number of `estimates`, `path` length (metres if `metric`), mean share
        of `moving` pixels, most `bodies` at once, mean `network_trust`, last `scale_state`,
        `lost_seconds`, and stamps of the `worst` frames, the worst first.
    """
    return _summed(_columns(table), _steps(table))


def minutes(table: pa.Table, origin_ns: int) -> list[dict[str, Any]]:
    """Key figures of each minute with a frame, counted from a stamp; see `figures`."""
    columns, steps = _columns(table), _steps(table)
    numbers = np.maximum(columns['stamp_ns'] - origin_ns, 0) // MINUTE_NS
    out = []
    for number in np.unique(numbers):
        chosen = numbers == number
        part = {name: values[chosen] for name, values in columns.items()}
        facts = _summed(part, {name: values[chosen] for name, values in steps.items()})
        out.append({'minute': int(number), **facts})
    return out


def _columns(table: pa.Table) -> dict[str, NDArray]:
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def _steps(table: pa.Table) -> dict[str, NDArray[np.float64]]:
    """Seconds and length of the step that leads to each row; 0 for the first one."""
    columns = _columns(table)
    seconds = np.diff(columns['stamp_ns'], prepend=columns['stamp_ns'][:1]) / NS_PER_S
    position = np.stack([columns[name] for name in 'xyz'], axis=1).astype(float)
    path = np.linalg.norm(np.diff(position, axis=0, prepend=position[:1]), axis=1)
    path = np.where(np.isnan(path) | columns['restarted'].astype(bool), 0.0, path)
    return {'seconds': seconds, 'path': path}


def _summed(columns: dict[str, NDArray], steps: dict[str, NDArray]) -> dict[str, Any]:
    lost, trust = columns['lost'].astype(bool), columns['network_trust']
    order = np.argsort(-badness(lost, trust, columns['moving']), kind='stable')[:WORST]
    return {
        'seconds': float(steps['seconds'].sum()),
        'estimates': len(lost),
        'path': float(steps['path'].sum()),
        'metric': bool(columns['metric'][-1]) if len(lost) else False,
        'moving': float(columns['moving'].mean()) if len(lost) else 0.0,
        'bodies': int(columns['bodies'].max(initial=0)),
        'network_trust': float(trust.mean()) if len(lost) else 0.0,
        'scale_state': str(columns['scale_state'][-1]) if len(lost) else '',
        'lost_seconds': float(steps['seconds'][lost].sum()),
        'worst': [int(columns['stamp_ns'][i]) for i in order],
        'badness': float(badness(lost, trust, columns['moving']).max(initial=0.0)),
    }
