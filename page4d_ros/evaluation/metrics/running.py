"""Run-time facts of the node: counts, times, device and versions."""

from __future__ import annotations

import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import page4d_ros
from page4d_ros.evaluation.result import Unknown
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.status import LOST, STAGES
from page4d_ros.messages.topics import OUTPUTS, STATUS, STATUS_TOPIC
from page4d_ros.perception.types import NETWORK_AND_POINTS, POINTS, RELIANCE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import BagIndex

FRAME_AGE = 'frame_age_s'
OFFLINE = Unknown('the frames were replayed without ROS, where nobody waits for them')
NO_STATUS = Unknown('the recording has no status messages')
NO_RELIANCE = Unknown('the recording is from a version that did not tell what poses rely on')
NO_CORNERS = Unknown('no pose was by image corners, which the network could be compared with')
LIBRARIES = ('torch', 'numpy', 'opencv-python-headless', 'rosbags', 'evo')


def run_metrics(recording: BagIndex, images: int | Unknown) -> dict[str, Any]:
    """Facts from the node's status messages, and the number of images that became estimates.

    Args:
        recording: what it published.
        images: how many images the source holds.
    """
    status = recording.status
    if not status:
        names = ('checkpoint', 'trained', 'purpose', 'device', 'metric', 'calibrated')
        names += ('window_size', 'received', 'dropped', 'lost', 'rate_hz')
        names += ('network_trust', 'relies_on')
        return {'images': images, 'estimates': _estimates(recording)} | dict.fromkeys(
            names, NO_STATUS
        )
    last = status[-1]
    topic = recording.find(STATUS_TOPIC.removeprefix('~/'), STATUS)
    rate = recording.topics[topic].rate_hz if topic else None
    return {
        'images': images,
        'estimates': len(_frames(recording)),
        'checkpoint': last.checkpoint,
        'trained': all(message.trained for message in status),
        'purpose': getattr(last, 'purpose', ''),  # recordings of version 0.1.0 lack it
        'device': last.device,
        'metric': bool(last.metric),
        'calibrated': bool(last.calibrated),
        'window_size': int(last.window_size),
        'received': int(last.received),
        'dropped': int(last.dropped),
        'lost': sum(message.state == LOST for message in status),
        'rate_hz': Unknown('there is only one moment') if rate is None else rate,
        **_reliance(_frames(recording)),
    }


def _frames(recording: BagIndex) -> list[Any]:
    """Status messages of frames, without those of a node that waits or pauses."""
    return [message for message in recording.status if message.window_fill]


def _reliance(status: list[Any]) -> dict[str, Any]:
    """Median trust in the network, and the share of frames by what their pose relies on."""
    if not all(hasattr(message, 'relies_on') for message in status):
        return dict.fromkeys(('network_trust', 'relies_on'), NO_RELIANCE)
    kinds = [message.relies_on for message in status]
    by_points = [m.network_trust for m in status if m.relies_on in {NETWORK_AND_POINTS, POINTS}]
    return {
        'network_trust': float(np.median(by_points)) if by_points else NO_CORNERS,
        'relies_on': {kind: kinds.count(kind) / max(len(kinds), 1) for kind in RELIANCE},
    }


def _estimates(recording: BagIndex) -> int:
    names = [(topic.name, topic.type) for topic in OUTPUTS if not topic.name.startswith('~')]
    found = {recording.find(name, kind) for name, kind in names} - {None}
    return max((recording.topics[topic].count for topic in found), default=0)


def timing_metrics(recording: BagIndex) -> dict[str, Any] | Unknown:
    """Median and 95th percentile of each stage in milliseconds, and of the frames' age."""
    if not _frames(recording):
        return NO_STATUS
    out: dict[str, Any] = {}
    for name, (_, values) in timing_series(recording).items():
        median, p95 = np.percentile(values, [50, 95])
        out[name] = {'median': float(median), 'p95': float(p95)}
        if name == FRAME_AGE and not values.any():
            out[name] = dict.fromkeys(('median', 'p95'), OFFLINE)
    return out


def timing_series(recording: BagIndex) -> dict[str, tuple[NDArray, NDArray]]:
    """(seconds since the first estimate, values) of ``<stage>_ms`` and ``frame_age_s``."""
    frames = _frames(recording)
    stamps = np.array([stamp_ns(message.header) for message in frames], np.int64)
    seconds = (stamps - stamps[0]) * 1e-9
    rows = {f'{stage}_ms': f'{stage}_ms' for stage in STAGES} | {FRAME_AGE: 'frame_age'}
    return {
        name: (seconds, np.array([getattr(m, field) for m in frames], np.float64))
        for name, field in rows.items()
    }


def topic_metrics(recording: BagIndex) -> dict[str, dict[str, Any]]:
    """Count, rate and longest gap of every recorded topic, and of outputs that are missing."""
    silent = Unknown('the topic was not recorded')
    missing = {
        f'/{topic.name.removeprefix("~/")}': {
            'type': topic.type,
            'count': 0,
            'rate_hz': silent,
            'longest_gap_s': silent,
        }
        for topic in OUTPUTS
        if recording.find(topic.name.removeprefix('~/'), topic.type) is None
    }
    few = Unknown('there are fewer than two moments')
    known = {
        name: {
            'type': log.type,
            'count': log.count,
            'rate_hz': few if log.rate_hz is None else log.rate_hz,
            'longest_gap_s': few if log.longest_gap_s is None else log.longest_gap_s,
        }
        for name, log in recording.topics.items()
    }
    return dict(sorted((missing | known).items()))


def command_line() -> str:
    """Command line of this process, to be typed again."""
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def versions() -> dict[str, str]:
    """Versions of the package, of what it computes with, and of the system, here and now."""
    return {
        'page4d_ros': page4d_ros.__version__,
        'python': platform.python_version(),
        **{name: _version(name) for name in LIBRARIES},
        'system': platform.platform(),
        'machine': platform.machine(),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return 'not installed by pip'
