"""Differences of a backend from torch, over a sliding window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from page4d_ros.perception.types import Frame, FrameSet

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from page4d_ros.perception.types import WindowEstimate
    from page4d_ros.perception.window_engine import WindowEngine


def differences(
    ours: WindowEngine, theirs: WindowEngine, images: Iterable[NDArray[np.uint8]]
) -> dict[str, float]:
    """Largest differences of two engines' estimates, relative to the largest value of each.

    Args:
        ours: an engine with an empty window.
        theirs: another one, with the same weights and settings.
        images: (H, W, 3) RGB, one after the other.
    """
    worst: dict[str, float] = {}
    anchor = None
    for index, image in enumerate(images):
        frames = FrameSet.of(Frame(index, 'camera', lambda: None))
        for engine in (ours, theirs):
            engine.push(frames, [image])
        pairs = zip(*(_values(each.step(anchor)) for each in (ours, theirs)), strict=True)
        for (name, a), (_, b) in pairs:
            off = float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12))
            worst[name] = max(worst.get(name, 0.0), off)
        anchor = frames.frames[0].key
    return worst


def _values(window: WindowEstimate) -> list[tuple[str, NDArray]]:
    named = {
        'pose': window.T_gauge_camera,
        'depth': window.depth,
        'confidence': window.confidence,
        'mask': window.dynamic,
    }
    return [(name, value) for name, value in named.items() if value is not None]
