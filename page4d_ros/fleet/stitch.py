"""Parts of a long recording, put together to one trajectory and one table of frames."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from page4d_ros.bags.replay import TRAJECTORY
from page4d_ros.fleet.annotate import LABELS, Annotation, write_figures
from page4d_ros.fleet.frames import (
    FRAMES,
    POSE,
    THUMBNAILS,
    figures,
    minutes,
    poses_of,
    rows_of,
)
from page4d_ros.geometry.poses import inverse
from page4d_ros.geometry.sim3 import Sim3, align, compare_baselines
from page4d_ros.messages.trajectory import trajectory_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

PARTS = 'parts.json'
SETTLED = 0.5  # share of an overlap that is left to the later part to find itself
FEWEST = 3  # poses that two parts need to share


class Join(NamedTuple):
    """Similarity from the odom frame of a part to that of the whole.

    Attributes:
        S_odom_part: the similarity.
        shared: poses that it was found from; 0 where the parts could not be joined.
        residual: median distance of the shared positions after it, in the unit of the whole.
    """

    S_odom_part: Sim3
    shared: int
    residual: float


def stitch(parts: list[Path], found: list[Annotation], output: Path) -> Annotation:
    """Put the results of the parts of a recording into one folder.

    Args:
        parts: their folders, in order; each is moved into `output` as ``part-000`` and so on.
        found: what is known of each.
        output: folder to make.

    Returns:
        Figures of the whole.
    """
    tables = [pq.read_table(folder / FRAMES) for folder in parts]
    table, joins, warnings = joined(tables)
    output.mkdir()
    (output / THUMBNAILS).mkdir()
    for index, folder in enumerate(parts):
        _adopt(folder, output, f'part-{index:03d}')
    pq.write_table(table, output / FRAMES)
    _write_trajectory(output / f'{TRAJECTORY}.tum', table)
    _write_joins(output / PARTS, joins)
    origin = found[0].origin_ns
    whole = Annotation(
        figures(table),
        minutes(table, origin),
        sum(part.frames for part in found),
        _added(part.dropped for part in found),
        origin,
        found[0].weights,
        found[0].caution,
        list(dict.fromkeys(text for part in found for text in part.warnings)) + warnings,
        sum(part.labelled for part in found),
    )
    write_figures(output, whole)
    return whole


def joined(tables: list[pa.Table]) -> tuple[pa.Table, list[Join], list[str]]:
    """One table of all parts in the odom frame of the first, a frame each once.

    Returns:
        The table, the join of each part, and warnings of parts that could not be joined.
    """
    whole, joins, warnings = tables[0], [Join(Sim3.identity(), len(tables[0]), 0.0)], []
    for index, part in enumerate(tables[1:], 1):
        join = _join(whole, part)
        if not join.shared:
            warnings.append(
                f'part {index} shares no poses with the one before; it goes on from the last pose'
            )
        joins.append(join)
        last = whole['stamp_ns'][-1].as_py()
        new = part.filter(pc.greater(part['stamp_ns'], last))
        whole = pa.concat_tables([whole, _moved(new, join)])
    return whole, joins, warnings


def _join(whole: pa.Table, part: pa.Table) -> Join:
    """Similarity that brings a part to where the whole ends."""
    known, new = _known(whole), _known(part)
    common = np.intersect1d(known[0], new[0])
    common = common[int(SETTLED * len(common)) :]
    if len(common) < FEWEST:
        return _gone_on(known, new)
    T_odom, T_part = (poses[np.isin(stamps, common)] for stamps, poses in (known, new))
    metric = whole['metric'][-1].as_py() and part['metric'][-1].as_py()
    ratio = 1.0 if metric else compare_baselines(T_odom, T_part).ratio
    found = align(T_odom, T_part, ratio if np.isfinite(ratio) and ratio > 0 else 1.0)
    return Join(found.S_a_b, len(common), float(np.median(found.shifts)))


def _known(table: pa.Table) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Stamps (n,) and poses (n, 4, 4) of the frames with a pose."""
    rows = np.stack([table[name].to_numpy() for name in POSE], axis=1)
    known = ~np.isnan(rows[:, 0])
    return table['stamp_ns'].to_numpy()[known], poses_of(rows[known])


def _gone_on(known: tuple[NDArray, NDArray], new: tuple[NDArray, NDArray]) -> Join:
    """Let a part begin at the last pose before it."""
    before, after = known[1], new[1][new[0] > known[0][-1]] if len(known[0]) else new[1]
    T = before[-1] @ inverse(after[0]) if len(before) and len(after) else np.eye(4)
    return Join(Sim3(1.0, T[:3, :3], T[:3, 3]), 0, float('nan'))


def _moved(part: pa.Table, join: Join) -> pa.Table:
    """Rows of a part in the odom frame of the whole."""
    rows = np.stack([part[name].to_numpy() for name in POSE], axis=1)
    known = ~np.isnan(rows[:, 0])
    rows = rows.copy()
    if known.any():
        rows[known] = rows_of(join.S_odom_part.apply_to_pose(poses_of(rows[known])))
    out = part
    for name, column in zip(POSE, rows.T, strict=True):
        out = out.set_column(out.column_names.index(name), name, pa.array(column))
    return out


def _adopt(folder: Path, output: Path, name: str) -> None:
    """Move a part below the whole; its pictures and labels become those of the whole."""
    for picture in sorted((folder / THUMBNAILS).iterdir()):
        target = output / THUMBNAILS / picture.name
        if not target.exists():  # the overlap belongs to the part before
            picture.rename(target)
    shutil.rmtree(folder / THUMBNAILS)
    labels = folder / LABELS
    for shard in sorted(labels.rglob('*.safetensors')):
        target = output / LABELS / shard.relative_to(labels)
        target.parent.mkdir(parents=True, exist_ok=True)
        shard.rename(target)
    shutil.rmtree(labels, ignore_errors=True)
    folder.rename(output / name)


def _write_trajectory(path: Path, table: pa.Table) -> None:
    stamps, poses = _known(table)
    with path.open('w', encoding='utf-8') as file:
        for stamp_ns, T in zip(stamps, poses, strict=True):
            file.write(trajectory_line(int(stamp_ns), T))


def _write_joins(path: Path, joins: list[Join]) -> None:
    """Write where each part sits: p_odom = scale * R p_part + t."""
    rows = [
        {
            'folder': f'part-{index:03d}',
            'scale': join.S_odom_part.scale,
            'R': join.S_odom_part.R.tolist(),
            't': join.S_odom_part.t.tolist(),
            'shared_poses': join.shared,
            'residual': join.residual if np.isfinite(join.residual) else None,
        }
        for index, join in enumerate(joins)
    ]
    path.write_text(json.dumps(rows, indent=1) + '\n', encoding='utf-8')


def _added(counts: Any) -> dict[str, int]:
    out: dict[str, int] = {}
    for each in counts:
        for reason, count in each.items():
            out[reason] = out.get(reason, 0) + count
    return out
