"""Settings of what goes out: clouds, scans, conditions for publishing, levels of diagnostics."""

from __future__ import annotations

from dataclasses import dataclass

from page4d_ros.settings import Settings, setting

HIGHEST = 1000.0


@dataclass(frozen=True)
class PointsConfig(Settings):
    """Size, extent and rate of the point clouds.

    Range and heights are those of the base frame, or of the camera in body axes without one.
    """

    max_points: int = setting(
        100_000, 'Points per cloud at most.', low=1, high=10_000_000, dynamic=True
    )
    stride: int = setting(
        1, 'Take every n-th pixel in both directions.', low=1, high=32, dynamic=True
    )
    voxel: float = setting(
        0.0,
        'Edge of the cubes whose points are averaged to one, in metres; 0 keeps every point.',
        low=0.0,
        high=100.0,
        dynamic=True,
    )
    max_range: float = setting(
        0.0,
        'Leave out points at a greater horizontal distance from the base, in metres; 0 keeps all.',
        low=0.0,
        high=1e4,
        dynamic=True,
    )
    min_height: float = setting(
        -HIGHEST,
        'Leave out points lower than this, in metres above the base frame.',
        low=-HIGHEST,
        high=HIGHEST,
        dynamic=True,
    )
    max_height: float = setting(
        HIGHEST,
        'Leave out points higher than this, in metres above the base frame.',
        low=-HIGHEST,
        high=HIGHEST,
        dynamic=True,
    )
    rate: float = setting(
        10.0,
        'Clouds per second of stamp time at most; 0 is no limit.',
        low=0.0,
        high=1000.0,
        dynamic=True,
    )

    @property
    def limited(self) -> bool:
        """True if points are left out by range or height."""
        return bool(self.max_range or self.min_height > -HIGHEST or self.max_height < HIGHEST)


@dataclass(frozen=True)
class MapConfig(Settings):
    """Accumulated points/static, for ~/save_cloud and `page4d replay`."""

    voxel: float = setting(
        0.0,
        'Edge of the cubes that keep one averaged point each, in metres; 0 keeps no points.',
        low=0.0,
        high=100.0,
        dynamic=True,
    )
    max_points: int = setting(
        1_000_000,
        'Points kept at most, some 60 bytes each; those that were seen longest ago go first.',
        low=1,
        high=100_000_000,
        dynamic=True,
    )
    rate: float = setting(
        2.0,
        'Frames per second of stamp time that are added at most; 0 is no limit.',
        low=0.0,
        high=1000.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class ScanConfig(Settings):
    """The published sensor_msgs/LaserScan of what does not move, in the base frame."""

    min_height: float = setting(
        0.1,
        'Obstacles begin at this height, in metres above the base frame.',
        low=-HIGHEST,
        high=HIGHEST,
        dynamic=True,
    )
    max_height: float = setting(
        1.0,
        'Obstacles end at this height, in metres above the base frame.',
        low=-HIGHEST,
        high=HIGHEST,
        dynamic=True,
    )
    max_range: float = setting(
        10.0,
        'Longest range in metres; to be seen as free a bearing needs depths beyond it, so keep it '
        'below depth.max_range.',
        low=0.1,
        high=1e4,
        dynamic=True,
    )
    increment: float = setting(
        0.0175,
        'Angle between bearings in rad, rounded so that they fill the circle; no finer than the '
        'pixels of the depth image.',
        low=0.001,
        high=0.5,
    )


@dataclass(frozen=True)
class PublishConfig(Settings):
    """Conditions for publishing, and the size of images."""

    size: str = setting(
        'network',
        "Pixels of depth, mask, confidence and their camera_info: the network's, or the camera's, "
        'along the edges of its image, with rgb/image as it came. Clouds stay those of the '
        'network.',
        choices=('network', 'camera'),
    )
    only_if_subscribed: bool = setting(
        True, 'Compute and publish an output only while somebody listens to it.', dynamic=True
    )


@dataclass(frozen=True)
class DiagnosticsConfig(Settings):
    """Limits at which diagnostics turn from OK to WARN or ERROR."""

    max_latency: float = setting(
        0.5, 'Warn above this frame age, in seconds.', low=0.0, high=3600.0, dynamic=True
    )
    min_rate: float = setting(
        1.0, 'Warn below this output rate, in Hz.', low=0.0, high=1000.0, dynamic=True
    )
    max_silence: float = setting(
        10.0,
        'Error if no image comes for longer, in seconds; 0 never. A warning comes after 5 s.',
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
    max_stall: float = setting(
        5.0,
        'Error if images arrive and no estimate leaves for longer, in seconds; 0 never.',
        low=0.0,
        high=3600.0,
        dynamic=True,
    )
