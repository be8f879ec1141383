"""The trajectory of recordings with ground truth: ours, and what is possible without learning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from page4d_ros.datasets.bag import Topics, read
from page4d_ros.datasets.bag_index import Track
from page4d_ros.errors import BagError
from page4d_ros.evaluation.methods.klt import LABEL as KLT
from page4d_ros.evaluation.methods.klt import follow
from page4d_ros.evaluation.methods.network import Network, camera_path
from page4d_ros.evaluation.metrics.trajectory import trajectory_metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.evaluation.result import Aligned
    from page4d_ros.perception.pipeline import Perception
    from page4d_ros.truth import GroundTruthFrame

OURS = 'page4d'
OTHERS = {
    'page4d, unrefined': {'odometry.refine': False},
    'page4d, always sliding': {'window.keyframe_overlap': 0.0},
    'page4d, keyframes': {'window.keyframe_overlap': 0.7},
}
LEAST = 3  # frames


class Drive(NamedTuple):
    """Result of one recording.

    Attributes:
        tree: of ``metrics.json``.
        paths: aligned trajectories by method.
    """

    tree: dict[str, Any]
    paths: dict[str, Aligned]


def measure_drive(
    recording: Path,
    config: Config,
    built: Perception,
    *,
    image_topic: str = '',
    progress: Callable[[], None] = lambda: None,
) -> Drive:
    """Follow the camera of a recording, every ``window.stride``-th frame, and compare.

    Args:
        recording: rosbag2 with images, calibration, depth and poses.
        config: all settings.
        built: of these settings; lends its engine and its motion classifier.
        image_topic: "" takes the only one.
        progress: called after each frame of each method.

    Raises:
        BagError: the recording cannot be read or lacks something; says what.
    """
    sequence = read(
        recording, Topics(image=image_topic), complete=True, stride=config.window.stride
    )
    stamps, true = _true_path(sequence)
    if len(stamps) < LEAST:
        raise BagError(f'{recording}: only {len(stamps)} frames have depth and pose')

    def frames() -> Iterator[GroundTruthFrame]:
        for frame in _undamaged(sequence):
            yield frame
            progress()

    tracks = {OURS: _ours(frames(), config, built)}
    for name, values in OTHERS.items():
        tracks[name] = _ours(frames(), config.with_values(values), built)
    tracks[KLT] = Track('odom', 'camera', *camera_path(follow(frames(), sequence.camera.K)))
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


def _undamaged(sequence: FileSequence) -> Iterator[GroundTruthFrame]:
    return sequence.frames(skip=lambda _error: None)


def _true_path(sequence: FileSequence) -> tuple[NDArray, NDArray]:
    known = [(frame.stamp_ns, frame.T_world_camera) for frame in _undamaged(sequence)]
    stamps = np.array([stamp for stamp, _ in known], np.int64)
    return stamps, np.array([T for _, T in known]).reshape(-1, 4, 4)


def _ours(frames: Iterable[GroundTruthFrame], config: Config, built: Perception) -> Track:
    network = Network(OURS, built.engine, config, built.dynamics.classifier)
    return Track('odom', 'camera', *camera_path(network.outputs(frames)))
