"""Estimation by a network over a sliding window, as everybody else sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.geometry.camera import ImageTransform
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import Frame, FrameKey, FrameSet, WindowEstimate

SHORTEST_KEEPING = 2  # sets in a window that may keep its first one


class SequenceEstimate(NamedTuple):
    """Estimate of a whole sequence of S frames, run at once.

    Attributes:
        window: of all frames, with depth for each.
        gram: (S, h / patch, w / patch) of each frame, as `WindowEstimate.gram`; None where masks
            are given.
        masks: (S, h, w) bool, true where something moves; None where `Dynamics` is to decide.
    """

    window: WindowEstimate
    gram: NDArray[np.float32] | None
    masks: NDArray[np.bool_] | None


class Engine(Protocol):
    """Estimates of the frames in a sliding window.

    Attributes:
        name: of the weights.
        purpose: use the weights were made for; "" where their file does not say.
        caution: warning for whoever reads the estimates; "" for none.
        trained: False for random weights.
        device: device that the network runs on.
        runs_on: device, arithmetic and library, in words.
        resolution: width of the network's input in pixels.
        patch_size: side of the network's patches in pixels.
    """

    name: str
    purpose: str
    caution: str
    trained: bool
    device: torch.device
    runs_on: str
    resolution: int
    patch_size: int

    def push(
        self, frames: FrameSet, images: Sequence[NDArray[np.uint8]], *, keep_first: bool = False
    ) -> None:
        """Put a frame set into the window; images of another size clear the window first.

        The oldest set leaves a full window, or the next to it if the first is to be kept.
        """

    def step(self, anchor: FrameKey | None = None, *, gram: bool = False) -> WindowEstimate:
        """Estimate for the frames in the window, newest last.

        Depth is for the frames since the last step, and for those back to the anchor if the
        window still holds it; Gram statistics are for the newest set, where asked for.
        """

    def step_apart(
        self, anchor: FrameKey | None = None, *, gram: bool = False
    ) -> list[WindowEstimate]:
        """Estimate for the frames of each view without the others, each in a gauge of its own.

        By increasing view; a view whose camera misses in the newest sets has depth for its last
        frame. All else is as for `step`.
        """

    def hide(self, motions: Sequence[Motion]) -> None:
        """Take in the motion of each frame of the newest set, for the windows to come."""

    def sequence(
        self, frames: Sequence[Frame], fit: ImageTransform, pixels: Sequence[Tensor]
    ) -> SequenceEstimate:
        """Estimate a whole sequence at once, beside the window."""

    def sequence_bytes(self, frames: int, fit: ImageTransform) -> int:
        """Memory that `sequence` needs for so many frames beside what is held already."""

    def clear(self) -> None:
        """Forget all frames."""

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""
