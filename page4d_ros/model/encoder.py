"""DINOv2 with registers: one frame's pixels to patch tokens (Oquab et al.; Darcet et al.)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.blocks import Block
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.preprocess import in_unit_range

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)


def normalise(images: Tensor) -> Tensor:
    """Standardise RGB images (N, 3, H, W), bytes or in [0, 1], by the statistics of ImageNet."""
    channels = zip(in_unit_range(images).unbind(1), IMAGE_MEAN, IMAGE_STD, strict=True)
    return torch.stack([(channel - mean) / std for channel, mean, std in channels], dim=1)


def interpolate_positions(pos_embed: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resample a position embedding to another patch grid.

    Args:
        pos_embed: the class token's entry, then a square grid row-major, (1, 1 + M * M, C).
        grid: wanted patches as (h, w).

    Returns:
        Embedding (1, 1 + h * w, C) of the same type.
    """
    side = int((pos_embed.shape[1] - 1) ** 0.5)
    if grid == (side, side):
        return pos_embed
    wide = pos_embed.to(torch.promote_types(pos_embed.dtype, torch.float32))
    patches = wide[:, 1:].transpose(1, 2).unflatten(2, (side, side))  # [1, C, M, M]
    patches = functional.interpolate(
        patches, grid, mode='bicubic', antialias=True, align_corners=False
    )
    patches = patches.flatten(2).transpose(1, 2)  # [1, h*w, C]
    return torch.cat([wide[:, :1], patches], dim=1).to(pos_embed.dtype)


class PatchEmbed(nn.Module):
    """One linear map of each patch of pixels to a token."""

    def __init__(self, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to tokens (N, h * w, C), row-major."""
        return self.proj(images).flatten(2).transpose(1, 2)


class PatchEncoder(PatchEmbed):
    """The linear map alone, in place of an encoder."""

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens (N, h * w, C) of images (N, 3, H, W), bytes or in [0, 1]."""
        return super().forward(normalise(images).to(self.proj.weight.dtype))


class ConvolutionalStem(nn.Module):
    """Two convolutions at half size before each patch becomes a token (Xiao et al., 2021)."""

    def __init__(self, dim: int, patch_size: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.proj = nn.Conv2d(channels, dim, patch_size // 2, stride=patch_size // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) to tokens (N, h * w, C), row-major."""
        x = functional.gelu(self.conv1(images))
        x = functional.gelu(self.conv2(x))
        return self.norm(self.proj(x).flatten(2).transpose(1, 2))


class Encoder(nn.Module):
    """Vision transformer over single frames; frames do not see each other."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        dim = config.embed_dim
        self.patch_size = config.patch_size
        if config.stem_channels:
            self.patch_embed = ConvolutionalStem(dim, config.patch_size, config.stem_channels)
        else:
            self.patch_embed = PatchEmbed(dim, config.patch_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        side = config.img_size // config.patch_size
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + side * side, dim))
        self.register_tokens = nn.Parameter(torch.empty(1, config.num_register_tokens, dim))
        # Only DINOv2's own pre-training used the mask token; published files hold it.
        self.mask_token = nn.Parameter(torch.zeros(1, dim), requires_grad=False)
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.encoder_heads,
                mlp_ratio=config.mlp_ratio,
                layer_scale_init=1.0,
                norm_eps=1e-6,
            )
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self._resampled: dict[tuple[int, int], tuple[tuple, Tensor]] = {}
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise as DINOv2 does; layers not named here keep torch's defaults."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.normal_(self.register_tokens, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def tokens(self, images: Tensor) -> Tensor:
        """All tokens before the last norm, (N, 1 + registers + h * w, C): class token first."""
        height, width = images.shape[-2:]
        grid = height // self.patch_size, width // self.patch_size
        x = self.patch_embed(normalise(images).to(self.pos_embed.dtype))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1).to(x.dtype), x], dim=1)
        x = x + self._positions(grid)
        registers = self.register_tokens.expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], registers.to(x.dtype), x[:, 1:]], dim=1)
        for block in self.blocks:
            x = block(x)
        return x

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embedding of a patch grid, kept from image to image but in training.

        An exported graph holds it as a constant: runtimes disagree on bicubic resampling.
        """
        if torch.is_grad_enabled():
            return interpolate_positions(self.pos_embed, grid)
        if torch.compiler.is_compiling():
            kept = self._resampled.get(grid)
            return interpolate_positions(self.pos_embed, grid) if kept is None else kept[1]
        if self.pos_embed.is_inference():  # such a tensor does not tell when it changes
            return interpolate_positions(self.pos_embed, grid)
        state = self.pos_embed.device, self.pos_embed.dtype, self.pos_embed._version
        if grid not in self._resampled or self._resampled[grid][0] != state:
            with torch.inference_mode(mode=False), torch.no_grad():
                positions = interpolate_positions(self.pos_embed, grid)
            self._resampled = {grid: (state, positions)}
        return self._resampled[grid][1]

    def forward(self, images: Tensor) -> Tensor:
        """Patch tokens (N, h * w, C) of images (N, 3, H, W), bytes or in [0, 1]."""
        specials = 1 + self.register_tokens.shape[1]
        return self.norm(self.tokens(images)[:, specials:])
