"""Memory that a network needs, from the shapes of its tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from page4d_ros.model.config import NetworkConfig

FLOAT = 4
ENCODED_AT_ONCE = 8  # frames of a sequence; bounds the encoder's memory
SPREADS = 2  # Gram statistics that keep a value for each pair of patches
HELD = 5  # maps of tokens that live while a block's MLP runs, in 32 bits
POSTED = 12  # values per pixel that reading a sequence's maps takes


class Memory(NamedTuple):
    """Bytes that a network needs.

    Attributes:
        weights: of the network.
        cache: what is kept of each frame from step to step.
        working: largest sum of all other tensors that live at once.
    """

    weights: int
    cache: int
    working: int

    @property
    def beside_weights(self) -> int:
        """Cache and work."""
        return self.cache + self.working


def activations(
    config: NetworkConfig,
    frames: int,
    size: tuple[int, int],
    newest: int | None,
    *,
    references: int = 0,
    matrix_bytes: int = FLOAT,
    points: bool = False,
    branches: int = 1,
) -> tuple[int, int]:
    """Cache and working memory of one step over a window or a whole sequence, in bytes.

    Args:
        config: sizes of the network.
        frames: S.
        size: height and width of the images in pixels.
        newest: frames that get depth, encoded one by one before the step; None for a sequence in
            one pass: all of them, with their dynamic maps.
        references: frames whose dynamic map is wanted.
        matrix_bytes: size of the values that matrix products run in.
        points: True if there is a point head.
        branches: that a frame has window tokens of; they run one after the other.
    """
    encoded = 1
    if newest is None:
        newest = references = frames
        encoded = min(frames, ENCODED_AT_ONCE)
    (height, width), dim = size, config.embed_dim
    pixels, patches = height * width, height * width // config.patch_size**2
    tokens = (patches + config.num_special_tokens) * dim  # values of one frame
    # a frame's bytes, patches and window tokens; tokens of the first frame once more
    entered = FLOAT * branches * tokens
    cache = frames * (3 * pixels + FLOAT * patches * dim + entered) + entered
    taps = FLOAT * newest * 4 * 2 * tokens
    spreads = FLOAT * references * SPREADS * patches**2
    # what attention gave, and the MLP's hidden values before and after its activation
    hidden = matrix_bytes * (1 + 2 * config.mlp_ratio + (matrix_bytes < FLOAT))
    held = FLOAT * (HELD + branches - 1 + bool(references))
    blocks = frames * tokens * (held + hidden) + (branches - 1 / 4) * taps + spreads
    at_once = min(newest, config.frames_chunk)
    outputs = FLOAT * newest * pixels * (6 if points else 2)
    heads = frames * entered + taps + spreads
    heads += max(at_once * _dense_frame(config, pixels) + outputs, outputs * 5 / 2)
    read = FLOAT * POSTED * pixels * newest if encoded > 1 else 0
    encoder = encoded * _encoded_frame(config, pixels, tokens)
    return cache, round(max(blocks, heads, read, encoder))


def _dense_frame(config: NetworkConfig, pixels: int) -> int:
    """Bytes of the dense head's largest stage for one frame.

    Before the last convolutions the fused map is enlarged to the image and gets its positions;
    the levels it was fused of, of 4, 2, 1 and 1/2 values per side of a patch, live as long.
    """
    features, hidden = config.dpt_features, config.dpt_head_channels
    sides = 4, 2, 1, 0.5
    levels = sum(c * side**2 for c, side in zip(config.dpt_channels, sides, strict=True))
    levels += features * sum(side**2 for side in sides[:3])
    last = max(1.5 * features, features + 2 * hidden)
    return round(FLOAT * pixels * (last + levels / config.patch_size**2))


def _encoded_frame(config: NetworkConfig, pixels: int, tokens: int) -> int:
    """Bytes of the encoder's largest stage for one frame."""
    image = 3 * 3 * pixels  # bytes in [0, 1], standardised, and its channels
    stem = 3 * config.stem_channels * pixels // 4  # of half the side
    return round(FLOAT * max(image + stem, (4 + 2 * config.mlp_ratio + 1) * tokens))
