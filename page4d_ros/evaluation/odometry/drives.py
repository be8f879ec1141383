"""The trajectory of recordings with ground truth: ours, and what is possible without learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from page4d_ros.bags.reader import open_bag
from page4d_ros.errors import BagError
from page4d_ros.evaluation.recording import Log, Track
from page4d_ros.evaluation.scenes.classical import follow, two_view_pose, with_length
from page4d_ros.evaluation.trajectory import trajectory_metrics
from page4d_ros.evaluation.truth import Truth
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.evaluation.trajectory import Aligned
    from page4d_ros.perception.engine import Engine

OURS = 'page4d'
SLIDING = 'page4d, always sliding'
KEYFRAMES = 'page4d, keyframes'
KLT = 'KLT + essential matrix, told the lengths'
OVERLAPS = {SLIDING: 0.0, KEYFRAMES: 0.7}
LEAST = 3  # frames


class Drive(NamedTuple):
    """What came of one recording.

    Attributes:
        tree: of ``metrics.json``.
        paths: aligned trajectories by method.
    """

    tree: dict[str, Any]
    paths: dict[str, Aligned]


def measure_drive(
    recording: Path,
    config: Config,
    engine: Engine,
    *,
    image_topic: str = '',
    progress: Callable[[], None] = lambda: None,
) -> Drive:
    """Follow the camera of a recording, every ``window.stride``-th frame, and compare.

    Args:
        recording: rosbag2 with images, calibration, depth and poses.
        config: all settings.
        engine: of these settings.
        image_topic: "" takes the only one.
        progress: called after each frame of each method.

    Raises:
        BagError: the recording cannot be read or lacks something; says what.
    """
    with open_bag(recording) as bag:
        truth = Truth(Log(bag), image_topic=image_topic)
        stamps, true = _true_path(truth, config)
        if len(stamps) < LEAST:
            raise BagError(f'{recording}: only {len(stamps)} frames have depth and pose')
        tracks = {OURS: _ours(truth, config, engine, progress)}
        for name, overlap in OVERLAPS.items():
            changed = config.with_values({'window.keyframe_overlap': overlap})
            tracks[name] = _ours(truth, changed, engine, progress)
        tracks[KLT] = _klt(truth, config, progress)
    methods, paths, tree = {}, {}, {}
    for name, track in tracks.items():
        found, aligned = trajectory_metrics(
            track, Track('world', 'camera', stamps, true), metric=False
        )
        if isinstance(found, str):  # says why not
            methods[name] = found
            continue
        methods[name] = found['sim3']
        tree |= {key: found[key] for key in ('truth', 'standing_still')}
        if aligned is not None:
            paths[name] = aligned
    if not tree:
        reasons = '; '.join(f'{name}: {why}' for name, why in methods.items())
        raise BagError(f'{recording}: no trajectory can be compared ({reasons})')
    return Drive({'frames': len(stamps), 'methods': methods, **tree}, paths)


def _true_path(truth: Truth, config: Config) -> tuple[NDArray, NDArray]:
    known = [(f.stamp_ns, f.T_world_camera) for f in truth.frames(config.window.stride)]
    stamps = np.array([stamp for stamp, _ in known], np.int64)
    return stamps, np.array([T for _, T in known]).reshape(-1, 4, 4)


def _ours(truth: Truth, config: Config, engine: Engine, progress: Callable[[], None]) -> Track:
    engine.clear()
    perception = Perception(config, engine)
    stamps, poses = [], []
    for seen in truth.frames(config.window.stride):
        frame = Frame(seen.stamp_ns, 'camera', lambda seen=seen: seen.rgb, truth.camera)
        odometry = perception.process(frame).odometry
        if not odometry.lost:
            stamps.append(seen.stamp_ns)
            poses.append(odometry.T_world_camera)
        progress()
    return _track(stamps, poses)


def _klt(truth: Truth, config: Config, progress: Callable[[], None]) -> Track:
    """Poses between frames that follow each other, as long as they truly are."""
    stamps, poses, last = [], [np.eye(4)], None
    for seen in truth.frames(config.window.stride):
        grey = cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2GRAY)
        if last is not None:
            before, T_world_before = last
            pose = two_view_pose(*follow([before, grey])[0], truth.camera.K)
            step = with_length(pose, (inverse(seen.T_world_camera) @ T_world_before)[:3, 3])
            poses.append(poses[-1] @ inverse(transform(step[:, :3], step[:, 3])))
        last = grey, seen.T_world_camera
        stamps.append(seen.stamp_ns)
        progress()
    return _track(stamps, poses)


def _track(stamps: list[int], poses: list[NDArray]) -> Track:
    return Track('odom', 'camera', np.array(stamps, np.int64), np.array(poses).reshape(-1, 4, 4))
