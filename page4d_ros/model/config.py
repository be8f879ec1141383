"""Every size and setting of the network in one frozen dataclass."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace

from page4d_ros.errors import ConfigError

CONFIG_KEY = 'page4d_config'  # in the header of a .safetensors: all sizes
# Far beyond any network of these families; a file that claims more would take hours to be refused.
MOST_BLOCKS, MOST_CHANNELS, MOST = 256, 1 << 14, 1 << 20
BLOCKS = {'encoder_depth', 'depth', 'camera_depth', 'camera_iterations'}
CHANNELS = {'embed_dim', 'dpt_features', 'dpt_channels', 'mask_hidden', 'stem_channels'}
MAY_BE_ZERO = {
    'num_register_tokens',
    'stem_channels',
    'encoder_depth',
    'mask_layer',
    'masked_layers',
    'dpt_taps',
}


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of PAGE-4D; the defaults are those of the published weights.

    Attributes:
        img_size: side in pixels of the square that the encoder's position embedding was made for.
        patch_size: side of a patch in pixels; images are multiples of it.
        stem_channels: channels of a convolutional stem before the patches, which small networks
            learn faster with (Xiao et al., 2021); 0 is the published linear map.
        embed_dim: channels C of a token; the heads read 2 C.
        num_heads: attention heads of the alternating blocks.
        mlp_ratio: hidden channels of every block's MLP, in units of its width.
        num_register_tokens: register tokens beside the one camera token of each frame.
        layer_scale_init: initial LayerScale of the alternating blocks and the camera trunk.
        encoder_depth: blocks of the DINOv2 encoder; 0 puts one linear map in place of all of it.
        encoder_heads: attention heads of the encoder.
        depth: alternating blocks, each one frame block followed by one global block.
        rope_base: base of the rotary position frequencies.
        mask_head: whether the network predicts which patches move.
        mask_enabled: whether inference biases attention with that prediction.
        mask_layer: the frame block whose output the mask head reads.
        masked_layers: the global blocks that the bias reaches.
        mask_scale: factor from the score in (-0.5, 0.5) to attention logits.
        mask_hidden: hidden channels of the mask head.
        camera_depth: blocks of the camera head's trunk.
        camera_heads: attention heads of that trunk, over 2 C channels.
        camera_iterations: refinements of the pose.
        dpt_taps: the four alternating blocks that the dense heads read.
        dpt_features: channels of the dense heads' fusion.
        dpt_channels: channels of the four levels before the fusion.
        dpt_head_channels: channels before the last layer.
        point_head: whether the network predicts points beside depth.
        frames_chunk: frames that the dense heads process at once; bounds their memory.
    """

    img_size: int = 518
    patch_size: int = 14
    stem_channels: int = 0
    embed_dim: int = 1024
    num_heads: int = 16
    mlp_ratio: float = 4.0
    num_register_tokens: int = 4
    layer_scale_init: float = 0.01
    encoder_depth: int = 24
    encoder_heads: int = 16
    depth: int = 24
    rope_base: float = 100.0
    mask_head: bool = True
    mask_enabled: bool = False
    mask_layer: int = 9
    masked_layers: tuple[int, ...] = tuple(range(10, 20))
    mask_scale: float = 64.0
    mask_hidden: int = 256
    camera_depth: int = 4
    camera_heads: int = 16
    camera_iterations: int = 4
    dpt_taps: tuple[int, ...] = (4, 11, 17, 23)
    dpt_features: int = 256
    dpt_channels: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_head_channels: int = 32
    point_head: bool = True
    frames_chunk: int = 8

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work.

        Raises:
            ConfigError: says which field, and why.
        """
        self._check_types()
        self._check_widths()
        self._check_layers()

    @classmethod
    def published(cls) -> NetworkConfig:
        """The network of the published weights, 1.19 billion parameters."""
        return cls()

    @classmethod
    def tiny(cls) -> NetworkConfig:
        """A network for a CPU and images of about 112 x 84; its points come from its depth."""
        return cls(
            img_size=112,
            stem_channels=16,
            embed_dim=128,
            num_heads=2,
            layer_scale_init=1.0,
            encoder_depth=3,
            encoder_heads=2,
            depth=4,
            mask_layer=2,
            masked_layers=(2, 3),
            mask_hidden=64,
            camera_depth=2,
            camera_heads=4,
            dpt_taps=(0, 1, 2, 3),
            dpt_features=24,
            dpt_channels=(24, 48, 96, 96),
            dpt_head_channels=12,
            point_head=False,
        )

    @classmethod
    def small(cls) -> NetworkConfig:
        """The network of page4d-small: `tiny` with more blocks and a wider dense head."""
        return replace(
            cls.tiny(),
            encoder_depth=10,
            depth=6,
            mask_layer=4,
            masked_layers=(4, 5),
            dpt_taps=(1, 2, 4, 5),
            dpt_features=48,
            dpt_channels=(48, 96, 192, 192),
            dpt_head_channels=24,
        )

    @property
    def num_special_tokens(self) -> int:
        """Tokens of a frame before its patches: one camera token and the registers."""
        return 1 + self.num_register_tokens

    def to_json(self) -> str:
        """Write every field as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> NetworkConfig:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is no JSON object, or its fields are not exactly ours.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f'the network configuration is not JSON: {error}') from error
        if not isinstance(values, dict):
            raise ConfigError('the network configuration is not a JSON object')
        names = {field.name for field in fields(cls)}
        unknown, missing = sorted(values.keys() - names), sorted(names - values.keys())
        if unknown or missing:
            raise ConfigError(
                f'the network configuration has unknown fields {unknown} and lacks {missing}; '
                'it was written by another version of this package'
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})

    def _check_types(self) -> None:
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            fits = type(value) is wanted or (wanted is float and type(value) is int)
            if wanted is tuple:
                fits = fits and all(type(item) is int for item in value)
            if not fits:
                kind = 'tuple of int' if wanted is tuple else wanted.__name__
                raise ConfigError(f'{field.name} must be a {kind}, not {value!r:.60}')
            if wanted is bool:
                continue
            smallest = min(value, default=0) if wanted is tuple else value
            if smallest < 0 or (smallest == 0 and field.name not in MAY_BE_ZERO):
                raise ConfigError(f'{field.name} must be positive, not {value!r}')
            largest = max(value, default=0) if wanted is tuple else value
            most = MOST_CHANNELS if field.name in CHANNELS else MOST
            most = MOST_BLOCKS if field.name in BLOCKS else most
            if not largest <= most or (wanted is tuple and len(value) > MOST_BLOCKS):
                raise ConfigError(f'{field.name} may be {most} at most, not {value!r:.60}')

    def _check_widths(self) -> None:
        for width, heads, unit in (
            ('embed_dim', 'num_heads', 4),
            ('embed_dim', 'encoder_heads', 1),
            ('2 embed_dim', 'camera_heads', 1),
        ):
            channels = self.embed_dim * (2 if width.startswith('2') else 1)
            if channels % (getattr(self, heads) * unit):
                extra = f' times {unit} (rotary embedding)' if unit > 1 else ''
                raise ConfigError(
                    f'{width} = {channels} is not a multiple of '
                    f'{heads} = {getattr(self, heads)}{extra}'
                )
        if self.img_size % self.patch_size:
            raise ConfigError(
                f'img_size {self.img_size} is not a multiple of patch_size {self.patch_size}'
            )
        if self.stem_channels and self.patch_size % 2:
            raise ConfigError('stem_channels halve the image, so patch_size must be even')
        if len(self.dpt_channels) != 4 or len(self.dpt_taps) != 4:
            raise ConfigError('dpt_taps and dpt_channels need four levels each')
        if any(channels % 4 for channels in self.dpt_channels) or self.dpt_features % 8:
            raise ConfigError('dpt_channels must be multiples of 4, dpt_features of 8')

    def _check_layers(self) -> None:
        for name in ('dpt_taps', 'masked_layers'):
            layers = getattr(self, name)
            if list(layers) != sorted(set(layers)) or (layers and layers[-1] >= self.depth):
                raise ConfigError(
                    f'{name} {layers} must rise strictly and stay below depth = {self.depth}'
                )
        if not self.mask_head:
            if self.mask_enabled:
                raise ConfigError('mask_enabled needs mask_head: there is no mask to apply')
            return
        if self.mask_layer >= self.depth or any(i < self.mask_layer for i in self.masked_layers):
            raise ConfigError(
                f'mask_layer {self.mask_layer} must lie below depth = {self.depth} and not after '
                f'the first of masked_layers {self.masked_layers}'
            )


@dataclass(frozen=True)
class FourDVGGTConfig(NetworkConfig):
    """Sizes of 4D-VGGT; the defaults are those of the published weights.

    Attributes:
        time_window: times that temporal attention spans, with that of the frame in their middle.
    """

    mask_head: bool = False
    masked_layers: tuple[int, ...] = ()
    time_window: int = 5

    def __post_init__(self) -> None:
        """Refuse sizes that cannot work; see `NetworkConfig`."""
        super().__post_init__()
        if self.time_window % 2 == 0:
            raise ConfigError(f'time_window must be odd, not {self.time_window}')
        if self.mask_head:
            raise ConfigError('4D-VGGT has no mask head')
