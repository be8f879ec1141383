"""The seam between the networks and all that runs them: tensors in, tensors out.

A frame is encoded once, when it arrives (`encode`, `enter`); a step relates the frames of a window
(`step`). A step is a pure function of tensors, and a `StepPlan` says all else that it depends on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from page4d_ros.model.memory import ENCODED_AT_ONCE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from page4d_ros.model.config import NetworkConfig
    from page4d_ros.model.memory import Memory

UNTRAINED = 'untrained'  # name of random weights


class StepPlan(NamedTuple):
    """Everything about a step that is no tensor; with the tensors' shapes it fixes the graph.

    Attributes:
        grid: patches as (h, w).
        newest: number of frames, counted from the last, that get depth and points.
        references: frames whose dynamic map is wanted, by index in the window.
        cells: view and time of each frame, both counted from 0, by increasing time and then view;
            those of a grid that nobody filled are missing. Empty for one view at every time.
    """

    grid: tuple[int, int]
    newest: int
    references: tuple[int, ...] = ()
    cells: tuple[tuple[int, int], ...] = ()


class NetworkOutput(NamedTuple):
    """Estimates of S frames; lengths share one unknown scale.

    Attributes:
        pose_enc: translation, quaternion (x, y, z, w), vertical and horizontal field of view in
            radians, (B, S, 9); see `pose_encoding`.
        pose_enc_iters: the same after every iteration, (iterations, B, S, 9).
        depth: along each camera's z axis, (B, S', H, W) of the S' newest frames.
        depth_conf: confidence above 1, (B, S', H, W).
        world_points: points in the first camera's frame, (B, S', H, W, 3); None without that head.
        world_points_conf: confidence above 1, (B, S', H, W); None without that head.
        mask_score: score of each patch in (-0.5, 0.5), high where static, (B, S, h, w); None
            without a mask head. See `mask_head.dynamic_probability`.
        gram: motion in the attention of the R reference frames, (R, h, w) from 0 to 1; None
            without any. See `GramStatistics`.
    """

    pose_enc: Tensor
    pose_enc_iters: Tensor
    depth: Tensor
    depth_conf: Tensor
    world_points: Tensor | None
    world_points_conf: Tensor | None
    mask_score: Tensor | None
    gram: Tensor | None = None


class Network(Protocol):
    """A network of the family, as engine and clip mode use it.

    Attributes:
        name: of the weights.
        purpose: use the weights were made for, in words; "" where their file does not say.
        config: its sizes and settings.
    """

    name: str
    purpose: str
    config: NetworkConfig

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels; sides of images are multiples of it."""

    @property
    def image_size(self) -> int:
        """Width in pixels of the images that the weights were made for."""

    @property
    def mask_in_attention(self) -> bool:
        """True if the motion mask biases attention."""

    @property
    def parameter_count(self) -> int:
        """Number of weights."""

    def with_mask_in_attention(self, *, on: bool) -> Network:
        """Network of the same weights, with the mask's bias on or off.

        Raises:
            ConfigError: it is to be on, and the weights have no mask head.
        """

    def prepare(self, device: torch.device, half: torch.dtype | None, *, points: bool) -> None:
        """Make ready for inference in place.

        Args:
            device: to run on.
            half: type for the matrices, to be run under autocast to it; None for none.
            points: False drops the head that predicts points.

        Raises:
            ConfigError: points are wanted, and the weights have no such head.
        """

    def encode(self, images: Tensor) -> Tensor:
        """Patch tokens (N, h * w, C) of images (N, 3, H, W), bytes or in [0, 1], one by one."""

    def enter(
        self,
        encoded: Tensor,
        grid: tuple[int, int],
        *,
        first: bool,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Window tokens (B, S, P, D) of frames, as far as other frames have no part in them.

        Args:
            encoded: patch tokens, (B, S, h * w, C).
            grid: patches as (h, w).
            first: True if the first of the frames is the first of its window.
            hidden: (B, S, h, w) bool, patches that no token of an early block attends to.
        """

    def step(self, tokens: Tensor, plan: StepPlan, hidden: Tensor | None = None) -> NetworkOutput:
        """Estimate a window.

        Args:
            tokens: of all frames as `enter` returns them, (B, S, P, D).
            plan: all else.
            hidden: as in `enter`, of all frames.
        """

    def attention_shape(self, frames: int, grid: tuple[int, int]) -> tuple[int, int, int, int]:
        """Shape (B, heads, N, D) of the queries of the largest attention of a window."""

    def memory(
        self, frames: int, size: tuple[int, int], newest: int | None, references: int = 0
    ) -> Memory:
        """Memory that a step needs, as far as shapes tell.

        Args:
            frames: in the window.
            size: height and width of the images in pixels.
            newest: frames that get depth; None for a sequence in one pass, see `run_sequence`.
            references: frames whose dynamic map is wanted.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """Weights by name."""

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Modules by the name of the stage they belong to, in order, for taking times."""


def full_cells(views: int, times: int) -> tuple[tuple[int, int], ...]:
    """Cells of a grid without gaps, as `StepPlan` wants them."""
    if views == 1:
        return ()
    return tuple((view, time) for time in range(times) for view in range(views))


def patch_grid(network: Network, images: Tensor) -> tuple[int, int]:
    """Patches (h, w) of images (..., H, W)."""
    height, width = images.shape[-2:]
    return height // network.patch_size, width // network.patch_size


def run_sequence(network: Network, images: Tensor) -> tuple[NetworkOutput, Tensor]:
    """Run a whole sequence in one pass.

    Args:
        network: any.
        images: (S, 3, H, W), bytes or in [0, 1].

    Returns:
        The output, depth and dynamic maps of all frames included, and the encoder's tokens
        (1, S, h * w, C).
    """
    frames, grid = len(images), patch_grid(network, images)
    encoded = torch.cat([network.encode(part) for part in images.split(ENCODED_AT_ONCE)])[None]
    tokens = network.enter(encoded, grid, first=True)
    return network.step(tokens, StepPlan(grid, frames, tuple(range(frames)))), encoded
