"""Every setting of the package, once: default, meaning, range, and whether it may change live.

A field's dotted name (``window.size``) is at the same time the ROS parameter's, the YAML key's and
the documentation's. Nothing here imports ROS or torch.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from typing import Any

from page4d_ros.errors import ConfigError

Value = bool | int | float | str


@dataclass(frozen=True)
class Setting:
    """What a parameter needs besides its default.

    Attributes:
        doc: one sentence; a unit where there is one.
        low: smallest allowed value; high: largest; None where unbounded.
        choices: allowed strings; empty where free.
        dynamic: may change while the node is active.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False


def setting(default: Value, doc: str, **kwargs: Any) -> Any:
    """Dataclass field that carries its `Setting`."""
    return field(default=default, metadata={'setting': Setting(doc, **kwargs)})


@dataclass(frozen=True)
class ModelConfig:
    """Which network runs, where, and how precisely."""

    checkpoint: str = setting(
        'page4d-small',
        'Weight file (.pt as published, or .safetensors); "page4d-small" comes with the package '
        'and knows rendered rooms only; "untrained" has random weights, to try the plumbing.',
    )
    variant: str = setting(
        'page4d',
        'page4d, or vggt4d: what moves is mined from attention without training, and the first '
        'layers do not see what moved; for plain VGGT weights.',
        choices=('page4d', 'vggt4d'),
    )
    device: str = setting('auto', 'cuda, cuda:N or cpu; auto takes CUDA where there is one.')
    precision: str = setting(
        'auto',
        'Arithmetic of the transformer; auto is bf16 on GPUs that have it, fp16 on older ones, '
        'fp32 on the CPU.',
        choices=('auto', 'fp32', 'bf16', 'fp16'),
    )
    resolution: int = setting(
        0,
        'Width of the network input in pixels, a multiple of 14; 0 is what the weights were made '
        'for: 518 for the published ones, 112 for page4d-small.',
        low=0,
        high=1036,
    )
    mask_attention: str = setting(
        'auto',
        'Bias the middle layers by the motion mask ("inference-time masking"): on, off, or auto '
        'for what the weight file says, which for published files is off.',
        choices=('auto', 'on', 'off'),
    )
    point_head: bool = setting(
        False,
        "Take the clouds' points from the network's point head instead of depth and intrinsics; "
        'slower. For weight files that have one.',
    )
    compile: bool = setting(
        False,
        'Compile the network for full windows, with CUDA graphs on a GPU: minutes at the start, '
        'faster after. Needs a C++ compiler.',
    )


@dataclass(frozen=True)
class WindowConfig:
    """Which frames stand together in one forward pass."""

    size: int = setting(8, 'Frames per window.', low=1, high=64)
    stride: int = setting(2, 'Take every n-th incoming frame.', low=1, high=32)
    min_motion: float = setting(
        0.0,
        'Skip a frame whose picture differs less from the last one taken: mean absolute grey '
        'difference, 0 to 1; 0 skips none.',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    keyframe_overlap: float = setting(
        0.95,
        "Keep the window's first frame while it sees this share of the newest view, so that a "
        'camera that stands still does not drift; 0 always lets the oldest frame go.',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    max_gap: float = setting(
        1.0,
        'A longer gap between incoming stamps clears the window, in seconds; 0 never does.',
        low=0.0,
        high=60.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class InputConfig:
    """How images arrive."""

    transport: str = setting(
        'raw', 'raw or compressed (image/compressed).', choices=('raw', 'compressed')
    )
    queue_depth: int = setting(5, 'Messages kept by the image subscription.', low=1, high=1000)
    rectify: bool = setting(
        False, 'Undistort with camera_info first; for cameras without a rectified topic.'
    )
    max_latency: float = setting(
        0.0,
        'Drop frames older than this on arrival, in seconds of the node clock; 0 keeps all.',
        low=0.0,
        high=3600.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class FramesConfig:
    """tf frames (REP 103, REP 105)."""

    odom: str = setting('odom', 'Frame of the trajectory.')
    base: str = setting(
        'base_link', 'Body frame of the robot; "" tracks the camera itself (egocentric).'
    )
    camera: str = setting('', 'Replaces the frame_id of the images; "" keeps theirs.')
    publish_tf: bool = setting(True, 'Send odom to base on /tf.', dynamic=True)
    invert_tf: bool = setting(
        False, 'Send base to odom instead, where base already has another parent.'
    )
    tf_timeout: float = setting(
        1.0,
        'Wait this long for the static transform from base to camera before assuming that the '
        'camera looks forward from the base origin, in seconds.',
        low=0.0,
        high=60.0,
    )


@dataclass(frozen=True)
class OdometryConfig:
    """Trajectory and its uncertainty."""

    refine: bool = setting(
        True,
        "Make the network's poses agree with corners that are followed from frame to frame; false "
        'takes them as they come.',
        dynamic=True,
    )
    position_covariance: float = setting(
        0.05, 'Variance of position and linear velocity, m^2.', low=1e-9, high=1e4, dynamic=True
    )
    orientation_covariance: float = setting(
        0.02,
        'Variance of orientation and angular velocity, rad^2.',
        low=1e-9,
        high=1e4,
        dynamic=True,
    )
    publish_when_lost: bool = setting(
        False, 'Publish a null pose with covariance 9999 when tracking is lost.', dynamic=True
    )
    reset_on_time_jump: bool = setting(
        False,
        'Start again at identity when time jumps back; false goes on from the last pose.',
        dynamic=True,
    )


@dataclass(frozen=True)
class ScaleConfig:
    """From the network's unit to metres."""

    mode: str = setting(
        'none',
        'none: not metric, and said so; fixed: scale.factor; depth: median ratio to scale/depth; '
        'odometry: baseline against scale/odom; camera_height: ground plane at '
        'scale.camera_height.',
        choices=('none', 'fixed', 'depth', 'odometry', 'camera_height'),
    )
    factor: float = setting(
        1.0, 'Metres per unit of the network (mode fixed).', low=1e-6, high=1e6
    )
    camera_height: float = setting(
        0.0,
        'Height of the camera above the ground, in metres (mode camera_height).',
        low=0.0,
        high=1000.0,
    )
    window: float = setting(
        5.0, 'Scale is the median of the measurements of this many seconds.', low=0.1, high=3600.0
    )


@dataclass(frozen=True)
class DepthConfig:
    """Depth images and which of their pixels count."""

    encoding: str = setting(
        '32FC1', 'Metres as float, or millimetres as 16 bit.', choices=('32FC1', '16UC1')
    )
    min_confidence: float = setting(
        0.2,
        'Pixels below are invalid; confidence is 1 - 1/c of the network c >= 1.',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    max_range: float = setting(
        20.0,
        'Pixels farther away are invalid, in metres; 0 keeps all.',
        low=0.0,
        high=1e4,
        dynamic=True,
    )


@dataclass(frozen=True)
class MaskConfig:
    """What moves, and from its probability to a mask."""

    source: str = setting(
        'fused',
        "Evidence: the network's mask head, Gram statistics of its attention (VGGT4D), geometry "
        '(depth and colour against earlier frames), or all of it, fused.',
        choices=('fused', 'head', 'gram', 'geometry'),
        dynamic=True,
    )
    threshold: float = setting(
        0.6,
        'Pixels above are dynamic; negative chooses the threshold by Otsu per image.',
        low=-1.0,
        high=1.0,
        dynamic=True,
    )
    hysteresis: float = setting(
        0.1,
        'A surface that was dynamic stays so until its probability is this far below the '
        'threshold; no effect on thresholds by Otsu.',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    dilate: int = setting(
        2, 'Grow dynamic regions by this many pixels.', low=0, high=50, dynamic=True
    )
    min_area: int = setting(
        50,
        'Drop dynamic regions smaller than this, in pixels.',
        low=0,
        high=1_000_000,
        dynamic=True,
    )


@dataclass(frozen=True)
class DynamicsConfig:
    """Moving bodies."""

    clusters: bool = setting(
        False,
        'Group the dynamic points into bodies and follow them: in ~/status, and on bodies where '
        'vision_msgs is installed.',
        dynamic=True,
    )


@dataclass(frozen=True)
class PointsConfig:
    """Size and rate of the clouds."""

    max_points: int = setting(
        100_000, 'Points per cloud at most.', low=1, high=10_000_000, dynamic=True
    )
    stride: int = setting(
        1, 'Take every n-th pixel in both directions.', low=1, high=32, dynamic=True
    )
    rate: float = setting(
        10.0,
        'Clouds per second of stamp time at most; 0 is no limit.',
        low=0.0,
        high=1000.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class PublishConfig:
    """When to publish."""

    only_if_subscribed: bool = setting(
        True, 'Compute and publish an output only while somebody listens to it.', dynamic=True
    )


@dataclass(frozen=True)
class PathConfig:
    """nav_msgs/Path."""

    max_poses: int = setting(1024, 'Newest poses kept.', low=1, high=100_000)
    folder: str = setting(
        '', 'Where ~/save_trajectory writes; "" is $ROS_HOME, or ~/.ros.', dynamic=True
    )


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When diagnostics turn from OK to WARN."""

    max_latency: float = setting(
        0.5, 'Warn above this frame age, in seconds.', low=0.0, high=3600.0, dynamic=True
    )
    min_rate: float = setting(
        1.0, 'Warn below this output rate, in Hz.', low=0.0, high=1000.0, dynamic=True
    )


@dataclass(frozen=True)
class NodeConfig:
    """The ROS node itself."""

    autostart: bool = setting(
        False, 'Configure and activate by itself; false waits for a lifecycle manager.'
    )


@dataclass(frozen=True)
class Config:
    """All settings, in groups."""

    node: NodeConfig = field(default_factory=NodeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    input: InputConfig = field(default_factory=InputConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    path: PathConfig = field(default_factory=PathConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)

    def with_values(self, values: dict[str, Value]) -> Config:
        """Copy with some settings replaced by their dotted names.

        Raises:
            ConfigError: an unknown name, a wrong type, or a value outside its range.
        """
        grouped: dict[str, dict[str, Value]] = {}
        known = dict(settings())
        for name, value in values.items():
            if name not in known:
                raise ConfigError(f'unknown parameter {name!r}; config/perception.yaml lists all')
            group, leaf = name.split('.')
            grouped.setdefault(group, {})[leaf] = checked(name, value, known[name])
        changed = replace(
            self, **{g: replace(getattr(self, g), **leaves) for g, leaves in grouped.items()}
        )
        if changed.scale.mode == 'camera_height' and changed.scale.camera_height <= 0:
            raise ConfigError('scale.mode camera_height needs scale.camera_height > 0 metres')
        if not changed.frames.odom or changed.frames.odom == changed.frames.base:
            raise ConfigError('frames.odom must have a name, and another one than frames.base')
        return changed

    def value(self, name: str) -> Value:
        """Value of one setting by its dotted name."""
        group, leaf = name.split('.')
        return getattr(getattr(self, group), leaf)


def settings() -> list[tuple[str, Field]]:
    """(dotted name, dataclass field) of every setting, in file order."""
    return [
        (f'{group.name}.{leaf.name}', leaf)
        for group in fields(Config)
        if group.default_factory is not MISSING
        for leaf in fields(group.default_factory)
    ]


def checked(name: str, value: Value, leaf: Field) -> Value:
    """Return the value in the type of its field.

    Raises:
        ConfigError: wrong type or outside of the allowed range; the message names both.
    """
    kind = type(leaf.default)
    if kind is float and type(value) is int:
        value = float(value)
    if type(value) is not kind:
        raise ConfigError(f'{name}: expected {kind.__name__}, got {value!r}')
    limits: Setting = leaf.metadata['setting']
    if limits.choices and value not in limits.choices:
        raise ConfigError(f'{name}: {value!r} is not one of {", ".join(limits.choices)}')
    if limits.low is not None and not limits.low <= value <= limits.high:
        raise ConfigError(f'{name}: {value} is outside [{limits.low}, {limits.high}]')
    if name == 'model.resolution' and 0 < value < 56:
        raise ConfigError(f'{name}: {value} is too small; 0 takes what the weights were made for')
    if name == 'model.resolution' and value % 14:
        raise ConfigError(f'{name}: {value} is not a multiple of 14; try {round(value / 14) * 14}')
    if name.startswith('frames.') and isinstance(value, str) and value.startswith('/'):
        raise ConfigError(f'{name}: {value!r} starts with a slash, which tf2 forbids')
    return value


def default_yaml() -> str:
    """Text of config/perception.yaml: every parameter, its default, meaning and range."""
    lines = [
        '# Every parameter of the page4d node with its default.',
        '# [dynamic] may change while the node runs; the others are fixed once it is configured.',
        '/**:',
        '  ros__parameters:',
    ]
    group = ''
    for name, leaf in settings():
        limits: Setting = leaf.metadata['setting']
        if name.split('.')[0] != group:
            group = name.split('.')[0]
            lines += ['', f'    {group}:']
        notes = []
        if limits.low is not None:
            notes.append(f'[{limits.low:g}, {limits.high:g}]')
        if limits.dynamic:
            notes.append('[dynamic]')
        comment = ' '.join([limits.doc, *notes])
        lines += [f'      # {line}' for line in textwrap.wrap(comment, 90)]
        lines.append(f'      {leaf.name}: {json.dumps(leaf.default)}')
    return '\n'.join(lines) + '\n'
