"""The transformer block that encoder, aggregator and camera head share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from page4d_ros.model.rope import Rope, apply_rope
from page4d_ros.model.runtime import full_precision

if TYPE_CHECKING:
    from page4d_ros.model.config import NetworkConfig

KeysValues = tuple[Tensor, Tensor]


class SpecialTokenBias(NamedTuple):
    """Additive attention bias that only the special tokens' query rows see.

    Attributes:
        logits: bias on each key, (B, N').
        frames: frames among the queries.
        specials: special tokens at the head of each frame's queries.
    """

    logits: Tensor
    frames: int
    specials: int


class Attention(nn.Module):
    """Multi-head self-attention, with normalised and rotated queries and keys where asked."""

    def __init__(self, dim: int, heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def project(self, x: Tensor, rope: Rope | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens x (B, N, C), each (B, heads, N, D)."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # [B, N, 3, heads, D]
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = self._turn(q, rope), self._turn(k, rope)
        return q, k, v

    def keys_values(self, x: Tensor, rope: Rope) -> KeysValues:
        """Keys and values of tokens x (B, N, C), each (B, heads, N, D)."""
        dim = x.shape[-1]
        kv = functional.linear(x, self.qkv.weight[dim:], self.qkv.bias[dim:])
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self._turn(self.k_norm(k), rope), v

    def queries(self, x: Tensor, rope: Rope) -> Tensor:
        """Queries (B, heads, N, D) of tokens x (B, N, C)."""
        dim = x.shape[-1]
        q = functional.linear(x, self.qkv.weight[:dim], self.qkv.bias[:dim])
        return self._turn(self.q_norm(q.unflatten(-1, (self.heads, -1)).transpose(1, 2)), rope)

    @staticmethod
    def _turn(x: Tensor, rope: Rope) -> Tensor:
        cos, sin = (table.to(x.dtype) for table in rope)
        return apply_rope(x, (cos, sin))

    def forward(
        self,
        x: Tensor,
        rope: Rope | None = None,
        bias: SpecialTokenBias | None = None,
        others: KeysValues | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Attend from tokens x, (B, N, C), to themselves or to other tokens.

        Args:
            x: the tokens.
            rope: of their positions.
            bias: added to the logits of the special tokens.
            others: `keys_values` of the tokens to attend to; None for x itself.
            hidden: (B, N') bool, keys that nobody attends to (VGGT4D, 3.3).
        """
        if others is None:
            q, k, v = self.project(x, rope)
        else:
            q, (k, v) = self.queries(x, rope), others
        return self.attend(q, k, v, bias, hidden)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias: SpecialTokenBias | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Attention's output (B, N, C) for what `project` gave."""
        seen = None if hidden is None else ~hidden[:, None, None]  # [B, 1, 1, N']
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        y = y.transpose(1, 2).flatten(2)  # [B, N, C]
        if bias is not None:
            y = replace_special_rows(y, q, k, v, bias)
        return self.proj(y)


def replace_special_rows(
    y: Tensor, q: Tensor, k: Tensor, v: Tensor, bias: SpecialTokenBias
) -> Tensor:
    """Attend again for the special tokens, with the bias added to their logits.

    They are few, so this is cheaper than a bias in the attention of all rows, which would leave
    the fused kernels or widen the heads (PAGE-4D, equation 6; the same numbers).

    Args:
        y: attention without bias, (B, N, C).
        q: queries, (B, heads, N, D).
        k: keys, (B, heads, N', D).
        v: values of the same shape.
        bias: the bias on the N' keys.
    """
    rows = q.unflatten(2, (bias.frames, -1))[:, :, :, : bias.specials]  # [B, heads, S, 5, D]
    # In half precision a bias of up to 32 would round to sixteenths; these rows are few.
    precise = torch.promote_types(q.dtype, torch.float32)
    with full_precision(q):
        special = functional.scaled_dot_product_attention(
            rows.flatten(2, 3).to(precise),
            k.to(precise),
            v.to(precise),
            attn_mask=bias.logits[:, None, None].to(precise),  # [B, 1, 1, N]
        ).to(y.dtype)
    special = special.transpose(1, 2).flatten(2).unflatten(1, (bias.frames, -1))  # [B, S, 5, C]
    patches = y.unflatten(1, (bias.frames, -1))[:, :, bias.specials :]
    return torch.cat([special, patches], dim=2).flatten(1, 2)


def halve(module: nn.Module, dtype: torch.dtype) -> None:
    """Keep a module's matrices in 16 bits; for use under autocast to that type.

    The numbers are those of autocast, which would convert them on every call; the residual stream
    and the norms stay in 32 bits.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            part.to(dtype)


class Mlp(nn.Module):
    """Two linear layers with an exact GELU between."""

    def __init__(self, dim: int, hidden: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., dim) to (..., out)."""
        return self.fc2(functional.gelu(self.fc1(x)))


class LayerScale(nn.Module):
    """A learnt gain per channel of a residual branch."""

    def __init__(self, dim: int, init: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), init))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x (..., dim)."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm attention and MLP, each added through a LayerScale."""

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        mlp_ratio: float,
        layer_scale_init: float,
        norm_eps: float = 1e-5,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=norm_eps)
        self.attn = Attention(dim, heads, qk_norm=qk_norm)
        self.ls1 = LayerScale(dim, layer_scale_init)
        self.norm2 = nn.LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dim)
        self.ls2 = LayerScale(dim, layer_scale_init)

    @classmethod
    def of(cls, config: NetworkConfig) -> Block:
        """Block of a network that relates frames, or the tokens of one, to each other."""
        return cls(
            config.embed_dim,
            config.num_heads,
            mlp_ratio=config.mlp_ratio,
            layer_scale_init=config.layer_scale_init,
            qk_norm=True,
        )

    @torch.no_grad()
    def fold(self) -> None:
        """Multiply the LayerScales into the layers before them, in place; for inference.

        Compilers would do the same once for each call of the block, with a copy of the weights
        each; the camera head calls its blocks in every iteration.
        """
        for scale, layer in ((self.ls1, self.attn.proj), (self.ls2, self.mlp.fc2)):
            if isinstance(scale, LayerScale):
                layer.weight.mul_(scale.gamma[:, None])
                layer.bias.mul_(scale.gamma)
        self.ls1, self.ls2 = nn.Identity(), nn.Identity()

    def keys_values(self, x: Tensor, rope: Rope) -> KeysValues:
        """Keys and values of tokens x, (B, N, dim), for other tokens to attend to."""
        return self.attn.keys_values(self.norm1(x), rope)

    def project(self, x: Tensor, rope: Rope) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of tokens x, (B, N, dim); each (B, heads, N, D)."""
        return self.attn.project(self.norm1(x), rope)

    def forward(
        self,
        x: Tensor,
        rope: Rope | None = None,
        bias: SpecialTokenBias | None = None,
        others: KeysValues | None = None,
        hidden: Tensor | None = None,
    ) -> Tensor:
        """Update tokens x, (B, N, dim), which attend as `Attention.forward` says."""
        return self.update(x, self.attn(self.norm1(x), rope, bias, others, hidden))

    def update(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention's output and that of the MLP to tokens x, (B, N, dim)."""
        x = x + self.ls1(attended)
        return x + self.ls2(self.mlp(self.norm2(x)))
