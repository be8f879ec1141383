"""Parameters of the node: default, meaning, range, and the permission to change it live.

A leaf's dotted name (``window.size``) is at the same time the ROS parameter's, the YAML key's and
the documentation's. Nothing here imports ROS or torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from page4d_ros.errors import ConfigError
from page4d_ros.input_config import FramesConfig, InputConfig, RigConfig, check_cameras
from page4d_ros.model.config import NetworkConfig
from page4d_ros.output_config import (
    DiagnosticsConfig,
    MapConfig,
    PointsConfig,
    PublishConfig,
    ScanConfig,
)
from page4d_ros.settings import Settings, commented_yaml, read_yaml, setting

if TYPE_CHECKING:
    from pathlib import Path

Value = bool | int | float | str | tuple

ROS_PARAMETERS = 'ros__parameters'
NODES = ('/**', 'page4d', '/page4d', '/**/page4d')
RCLPY_PARAMETERS = ('use_sim_time', 'qos_overrides.')  # declared by rclpy, not by us
PATCH_SIZE = NetworkConfig.patch_size  # as published; an engine knows that of its own weights
MIN_RESOLUTION = 4 * PATCH_SIZE
SMALL = 'page4d-small'
JOINT, PER_VIEW, AUTO = 'joint', 'per_view', 'auto'


def _check_resolution(value: int) -> str:
    if 0 < value < MIN_RESOLUTION:
        return f'{value} is too small; 0 takes what the weights were made for'
    if value % PATCH_SIZE:
        near = round(value / PATCH_SIZE) * PATCH_SIZE
        return f'{value} is not a multiple of {PATCH_SIZE}; try {near}'
    return ''


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Network, device and arithmetic."""

    checkpoint: str = setting(
        SMALL,
        'Weight file (.pt as published, or .safetensors); "page4d-small" comes with the package '
        'and is for rendered scenes; "untrained" has random weights, to try the plumbing.',
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
        'fp32 on the CPU. With openvino or onnxruntime also int8_weights (matrices in eight bits) '
        'and int8 (what they are multiplied with, too, calibrated by `page4d build`).',
        choices=('auto', 'fp32', 'bf16', 'fp16', 'int8_weights', 'int8'),
    )
    resolution: int = setting(
        0,
        f'Width of the network input in pixels, a multiple of {PATCH_SIZE}; 0 is what the weights '
        'were made for: 518 for the published ones, 112 for page4d-small.',
        low=0,
        high=1036,
        check=_check_resolution,
    )
    mask_attention: str = setting(
        'auto',
        'Bias the middle layers by the motion mask ("inference-time masking"): on, off, or auto '
        'for what the weight file says, which for published files is off.',
        choices=('auto', 'on', 'off'),
    )
    grid: str = setting(
        AUTO,
        'How cameras of a rig go through the network: joint, all in one window; or per_view, a '
        'window for each, in less memory; cameras then sit where tf says, and not where the '
        'network sees them. auto takes per_view for page4d-small, which never saw a rig, and '
        'joint for other weights.',
        choices=(AUTO, JOINT, PER_VIEW),
    )
    point_head: bool = setting(
        False,
        "Take the clouds' points from the network's point head instead of depth and intrinsics; "
        'slower. For weight files that have one.',
    )
    backend: str = setting(
        'auto',
        'Library that runs full windows: torch, or openvino or onnxruntime on a CPU, or '
        'cudagraphs (torch, recorded) or tensorrt on a GPU. auto takes OpenVINO on x86-64 CPUs '
        'where it is installed, cudagraphs on GPUs, and torch elsewhere. Graphs are built in the '
        'background, or ahead of time by `page4d build`; until then torch runs.',
        choices=('auto', 'torch', 'openvino', 'onnxruntime', 'cudagraphs', 'tensorrt'),
    )
    threads: int = setting(
        0,
        'Threads of the CPU; 0 takes OMP_NUM_THREADS, or as many as cores are free at the start.',
        low=0,
        high=1024,
    )
    compile: bool = setting(
        False,
        'Compile the network for full windows; with cudagraphs, fuse the kernels that are '
        'recorded. Minutes at the start, faster after. Needs a C++ compiler.',
    )

    @property
    def apart(self) -> bool:
        """True if cameras go through the network one by one."""
        return self.grid == PER_VIEW or (self.grid == AUTO and self.checkpoint == SMALL)


@dataclass(frozen=True)
class WindowConfig(Settings):
    """Selection of the frames of one forward pass."""

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
class OdometryConfig(Settings):
    """Trajectory and its uncertainty."""

    estimator: str = setting(
        'both',
        'both: the network and tracked image corners, each weighed by its record; network: '
        'windows as they come; geometry: corners alone.',
        choices=('both', 'network', 'geometry'),
    )
    position_covariance: float = setting(
        1e-4,
        'Least variance of position and linear velocity, m^2 and m^2/s^2.',
        low=1e-9,
        high=1e4,
        dynamic=True,
    )
    orientation_covariance: float = setting(
        1e-5,
        'Least variance of orientation and angular velocity, rad^2 and rad^2/s^2.',
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
class ScaleConfig(Settings):
    """Conversion of the network's unit of length to metres."""

    mode: str = setting(
        'none',
        'none: not metric, and said so; fixed: scale.factor; depth: median ratio to scale/depth; '
        'odometry: baseline against scale/odom; camera_height: ground plane at '
        "scale.camera_height; rig: the cameras' known baselines.",
        choices=('none', 'fixed', 'depth', 'odometry', 'camera_height', 'rig'),
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
class DepthConfig(Settings):
    """Depth images and the validity of their pixels."""

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
    max_error: float = setting(
        0.15,
        'Pixels whose depth may be off by more, relative (one standard deviation, by tracked '
        'corners), are invalid; confidence is half there. 0 keeps all as the network says.',
        low=0.0,
        high=10.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class MaskConfig(Settings):
    """Evidence of motion and the mask made from it."""

    source: str = setting(
        'fused',
        "Evidence: the network's mask head, Gram statistics of its attention (VGGT4D), geometry "
        '(depth and colour against earlier frames), or all of it, fused.',
        choices=('fused', 'head', 'gram', 'geometry'),
        dynamic=True,
    )
    threshold: float = setting(
        0.5,
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
class DynamicsConfig(Settings):
    """Tracking of moving bodies."""

    clusters: bool = setting(
        False,
        'Group the dynamic points into bodies and follow them: in ~/status, on markers for RViz '
        'and Foxglove, and on bodies where vision_msgs is installed.',
        dynamic=True,
    )


@dataclass(frozen=True)
class PathConfig(Settings):
    """The published nav_msgs/Path."""

    max_poses: int = setting(1024, 'Newest poses kept.', low=1, high=100_000)
    folder: str = setting(
        '',
        'Where ~/save_trajectory and ~/save_cloud write; "" is $ROS_HOME, or ~/.ros.',
        dynamic=True,
    )


@dataclass(frozen=True)
class NodeConfig(Settings):
    """The ROS node itself."""

    autostart: bool = setting(
        False, 'Configure and activate by itself; false waits for a lifecycle manager.'
    )


@dataclass(frozen=True)
class Config(Settings):
    """All settings, in groups."""

    node: NodeConfig = field(default_factory=NodeConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    window: WindowConfig = field(default_factory=WindowConfig)
    cameras: tuple[str, ...] = setting(
        (),
        'Names of the cameras of a rig, the first one gives the pose: each has its inputs and '
        'outputs in topics below its name, such as front/image and front/depth/image. Empty for '
        'one camera without a name.',
        check=check_cameras,
    )
    input: InputConfig = field(default_factory=InputConfig)
    rig: RigConfig = field(default_factory=RigConfig)
    frames: FramesConfig = field(default_factory=FramesConfig)
    odometry: OdometryConfig = field(default_factory=OdometryConfig)
    scale: ScaleConfig = field(default_factory=ScaleConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    points: PointsConfig = field(default_factory=PointsConfig)
    map: MapConfig = field(default_factory=MapConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    publish: PublishConfig = field(default_factory=PublishConfig)
    path: PathConfig = field(default_factory=PathConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)

    @property
    def apart(self) -> bool:
        """True if each camera of a rig has a window of its own."""
        return self.model.apart and len(self.cameras) > 1

    def check(self) -> None:
        """Compare settings of different groups.

        Raises:
            ConfigError: scale or tf frames that contradict each other.
        """
        if self.scale.mode == 'camera_height' and self.scale.camera_height <= 0:
            raise ConfigError('scale.mode camera_height needs scale.camera_height > 0 metres')
        if self.scale.mode == 'rig' and len(self.cameras) < 2:
            raise ConfigError('scale.mode rig needs the names of two cameras or more')
        if self.scale.mode == 'rig' and self.apart and self.odometry.estimator == 'network':
            raise ConfigError(
                'scale.mode rig is by corners where model.grid is per_view: '
                'set odometry.estimator both, or model.grid joint'
            )
        if not self.frames.odom or self.frames.odom == self.frames.base:
            raise ConfigError('frames.odom must have a name, and another one than frames.base')
        if self.frames.mount and not self.frames.base:
            raise ConfigError(
                'frames.mount is the place of a camera on frames.base, which is empty'
            )
        if self.cameras and self.frames.camera:
            raise ConfigError('frames.camera renames one camera; leave it empty with cameras')
        for name, low, high in (
            ('points', self.points.min_height, self.points.max_height),
            ('scan', self.scan.min_height, self.scan.max_height),
        ):
            if low >= high:
                raise ConfigError(f'{name}.min_height {low} is not below {name}.max_height {high}')
        if self.rig.offsets and len(self.rig.offsets) != len(self.cameras):
            raise ConfigError(
                f'rig.offsets has {len(self.rig.offsets)} numbers for {len(self.cameras)} cameras'
            )


def default_yaml() -> str:
    """Text of config/perception.yaml: every parameter, its default, meaning and range."""
    lines = [
        '# Every parameter of the page4d node with its default.',
        '# [dynamic] may change while the node runs; the others are fixed once it is configured.',
        '/**:',
        f'  {ROS_PARAMETERS}:',
        *commented_yaml(Config, indent='    '),
    ]
    return '\n'.join(lines) + '\n'


def file_values(path: Path) -> dict[str, Value]:
    """Settings by dotted name from a ROS parameter file, or from a plain mapping.

    Of a ROS parameter file, sections of the node ``page4d`` and of ``/**`` are read.

    Raises:
        ConfigError: the file cannot be read.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: holds no parameters; config/perception.yaml is an example')
    named = [content[n] for n in NODES if isinstance(content.get(n), dict)]
    nodes = [node[ROS_PARAMETERS] or {} for node in named if ROS_PARAMETERS in node]
    out: dict[str, Value] = {}
    for parameters in nodes or [content]:
        if not isinstance(parameters, dict):
            raise ConfigError(f'{path}: {ROS_PARAMETERS} must map names to values')
        out |= _flat(parameters)
    return {name: value for name, value in out.items() if not name.startswith(RCLPY_PARAMETERS)}


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Values of nested mappings by dotted name."""
    out: dict[str, Any] = {}
    for name, value in values.items():
        here = f'{prefix}{name}'
        out |= _flat(value, f'{here}.') if isinstance(value, dict) else {here: value}
    return out
