"""Dense prediction head: tokens of four depths to a map of the image's size (Ranftl et al.)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.runtime import cached_table, full_precision


def inverse_log(x: Tensor) -> Tensor:
    """Undo sign(y) log(1 + |y|): the point head's activation."""
    return x.sign() * x.abs().expm1()


def confidence(x: Tensor) -> Tensor:
    """Map the last channel to a confidence above 1."""
    return 1 + x.exp()


@cached_table
def axis_embedding(
    size: int, span: float, channels: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Sines, then cosines, of `size` pixel centres spread over (-span, span): (channels, size)."""
    half = channels // 2
    edge = span * (size - 1) / size
    position = torch.linspace(-edge, edge, size, device=device, dtype=torch.float64)
    exponent = torch.arange(half, device=device, dtype=torch.float64) / half
    angles = 100.0 ** -exponent[:, None] * position
    return torch.cat([angles.sin(), angles.cos()]).to(dtype)


def add_positions(x: Tensor, aspect: float) -> Tensor:
    """Add a tenth of the position embedding of an image of width / height `aspect` to a map.

    The first half of the channels of x, (N, C, h, w), tells the column, the second the row.
    """
    channels, height, width = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    u = axis_embedding(width, aspect / diagonal, channels // 2, x.device, x.dtype)
    v = axis_embedding(height, 1 / diagonal, channels // 2, x.device, x.dtype)
    left, right = x.chunk(2, dim=1)
    return torch.cat([left + 0.1 * u[:, None, :], right + 0.1 * v[:, :, None]], dim=1)


class ResidualUnit(nn.Module):
    """Two convolutions beside a rectified skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Refine a map (N, C, h, w)."""
        # The published weights were trained with an in-place ReLU, which rectified the skip too.
        x = x.relu()
        return x + self.conv2(self.conv1(x).relu())


class Fusion(nn.Module):
    """Add a finer level to the coarser result and enlarge it."""

    def __init__(self, channels: int, *, lateral: bool = True) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(channels, channels, 1)
        self.resConfUnit1 = ResidualUnit(channels) if lateral else None
        self.resConfUnit2 = ResidualUnit(channels)

    def forward(self, x: Tensor, size: tuple[int, int], level: Tensor | None = None) -> Tensor:
        """Fuse x (N, C, h, w) with `level` of the same shape, to (N, C, *size)."""
        if level is not None:
            x = x + self.resConfUnit1(level)
        # A 1x1 convolution commutes with the interpolation, and is cheaper before it.
        x = self.out_conv(self.resConfUnit2(x))
        return functional.interpolate(x, size, mode='bilinear', align_corners=True)


class Scratch(nn.Module):
    """The four levels, coarse to fine, to one map of the image's size."""

    def __init__(self, config: NetworkConfig, outputs: int) -> None:
        super().__init__()
        features, hidden = config.dpt_features, config.dpt_head_channels
        one, two, three, four = config.dpt_channels
        self.layer1_rn = nn.Conv2d(one, features, 3, padding=1, bias=False)
        self.layer2_rn = nn.Conv2d(two, features, 3, padding=1, bias=False)
        self.layer3_rn = nn.Conv2d(three, features, 3, padding=1, bias=False)
        self.layer4_rn = nn.Conv2d(four, features, 3, padding=1, bias=False)
        self.refinenet1 = Fusion(features)
        self.refinenet2 = Fusion(features)
        self.refinenet3 = Fusion(features)
        self.refinenet4 = Fusion(features, lateral=False)
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(features // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1),
        )

    def forward(self, levels: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Fuse levels of 4, 2, 1 and 1/2 pixels per patch to (N, outputs, *size)."""
        one, two, three = (
            self.layer1_rn(levels[0]),
            self.layer2_rn(levels[1]),
            self.layer3_rn(levels[2]),
        )
        x = self.refinenet4(self.layer4_rn(levels[3]), three.shape[-2:])
        x = self.refinenet3(x, two.shape[-2:], three)
        x = self.refinenet2(x, one.shape[-2:], two)
        height, width = one.shape[-2:]
        x = self.refinenet1(x, (2 * height, 2 * width), one)
        x = functional.interpolate(self.output_conv1(x), size, mode='bilinear', align_corners=True)
        return self.output_conv2(add_positions(x, size[1] / size[0]))


class DPTHead(nn.Module):
    """Map of `outputs` - 1 values and one confidence per pixel, each frame by itself.

    Attributes:
        activation: turns the raw values into depth (`torch.exp`) or points (`inverse_log`).
    """

    def __init__(
        self, config: NetworkConfig, outputs: int, activation: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        dim, (one, two, _, four) = 2 * config.embed_dim, config.dpt_channels
        self.patch_size = config.patch_size
        self.specials = config.num_special_tokens
        self.frames_chunk = config.frames_chunk
        self.activation = activation
        self.norm = nn.LayerNorm(dim)
        self.projects = nn.ModuleList(nn.Conv2d(dim, c, 1) for c in config.dpt_channels)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(one, one, 4, stride=4),
                nn.ConvTranspose2d(two, two, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(four, four, 3, stride=2, padding=1),
            ]
        )
        self.scratch = Scratch(config, outputs)

    def forward(
        self, taps: Sequence[Tensor], grid: tuple[int, int], frames: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Predict the maps of the chosen frames of a window.

        Args:
            taps: the aggregator's tokens, four times (B, S, P, 2 C).
            grid: patches as (h, w).
            frames: which of the S frames to compute; S' of them.

        Returns:
            Values (B, S', H, W, outputs - 1) and confidences (B, S', H, W).
        """
        chosen = [tap[:, frames, self.specials :] for tap in taps]  # [B, S', h*w, 2C]
        batch = chosen[0].shape[:2]
        with full_precision(chosen[0]):
            chunks = zip(*(x.flatten(0, 1).split(self.frames_chunk) for x in chosen), strict=True)
            raw = torch.cat([self._maps(chunk, grid) for chunk in chunks])  # [B*S', outputs, H, W]
            raw = raw.unflatten(0, batch).movedim(2, -1)
            return self.activation(raw[..., :-1]), confidence(raw[..., -1])

    def _maps(self, levels: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        height, width = grid
        maps = []
        for tokens, project, resize in zip(levels, self.projects, self.resize_layers, strict=True):
            x = self.norm(tokens.to(self.norm.weight.dtype))
            x = project(x.transpose(1, 2).unflatten(2, grid))  # [N, channels, h, w]
            maps.append(resize(add_positions(x, width / height)))
        return self.scratch(maps, (height * self.patch_size, width * self.patch_size))
