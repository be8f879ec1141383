"""Windows of true poses and depths along a rendered sequence."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from page4d_ros.datasets.simulator import TRUE_GAUGE, SequenceWorld, SimulatedEngine
from page4d_ros.perception.types import FrameSet

if TYPE_CHECKING:
    from page4d_ros.datasets.rendered import RenderedSequence
    from page4d_ros.perception.types import WindowEstimate
    from page4d_ros.truth import GroundTruthFrame


class TrueWindows:
    """Windows in the world's own frame, without motion, at the pixels of a network.

    Args:
        sequence: the rendered sequence.
        size: frames per window.
        resolution: width of the network's input in pixels.
        patch: side of its patches; 1 and the camera's own width leave images as they are.
    """

    def __init__(self, sequence: RenderedSequence, size: int, resolution: int, patch: int) -> None:
        world = SequenceWorld(replace(sequence, mask=None))
        self._engine = SimulatedEngine(
            world, size, gauge=TRUE_GAUGE, resolution=resolution, patch_size=patch
        )

    def add(self, frame: GroundTruthFrame) -> WindowEstimate:
        """Window up to the sequence's next frame, with depth of it and of the one before."""
        sets = self._engine.sets
        before = sets[-1].frames.keys[0] if sets else None
        self._engine.push(FrameSet.of(frame.frame), [frame.rgb])
        return self._engine.step(before)
