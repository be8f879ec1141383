"""Perception with nvblox behind it: a reconstruction in which movers are kept apart.

ros2 launch page4d_ros nvblox.launch.py image_topic:=/camera/image_rect scale_mode:=fixed

All arguments of perception.launch.py are taken, too.
"""

from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node

from page4d_ros.ros.launching import clock, namespace, need, prefixes, tf_remappings

SHARE = Path(get_package_share_directory('page4d_ros'))
PERCEPTION = str(SHARE / 'launch' / 'perception.launch.py')
MOST_CAMERAS = 4
ARGUMENTS = (
    (
        'movers',
        'mapped',
        'What moves: mapped as occupancy that fades, by the mask; or left_out of the depth.',
        ['mapped', 'left_out'],
    ),
    ('voxel_size', '0.05', 'Edge of the voxels, in metres.', None),
    ('nvblox_params', '', 'Parameter file of nvblox, under what this file sets.', None),
    ('scale_mode', '', 'Source of metric scale (scale.mode); needed, or params_file.', None),
)


def check(context: LaunchContext) -> list:
    """Refuse what nvblox cannot work with, before the node starts.

    Raises:
        RuntimeError: the message says what is missing.
    """
    given = context.launch_configurations
    if given['scale_mode'] in {'', 'none'} and not given.get('params_file'):
        raise RuntimeError('scale_mode:= is needed: nvblox takes lengths for metres')
    if len(prefixes(given)) > MOST_CAMERAS:
        raise RuntimeError(f'cameras:= names more than the {MOST_CAMERAS} that nvblox takes')
    need('nvblox_ros', 'nvblox.launch.py', get_package_prefix)
    return []


def inputs(given: dict[str, str]) -> list[tuple[str, str]]:
    """Topic of each input of nvblox; each image has the calibration of its size beside it."""
    masked = given['movers'] == 'mapped'
    out = []
    for i, camera in enumerate(prefixes(given)):
        out += [
            (f'camera_{i}/depth/image', f'{camera}depth/{"image" if masked else "static"}'),
            (f'camera_{i}/depth/camera_info', f'{camera}depth/camera_info'),
            (f'camera_{i}/color/image', f'{camera}rgb/image'),
            (f'camera_{i}/color/camera_info', f'{camera}rgb/camera_info'),
        ]
        if masked:
            out += [
                (f'camera_{i}/mask/image', f'{camera}mask/image'),
                (f'camera_{i}/mask/camera_info', f'{camera}mask/camera_info'),
            ]
    return out


def actions(context: LaunchContext) -> list:
    """Start nvblox beside the node."""
    given = context.launch_configurations
    masked = given['movers'] == 'mapped'
    parameters = {
        'global_frame': given['odom_frame'] or 'odom',
        'map_clearing_frame_id': given['base_frame'].replace('none', '') or 'base_link',
        'use_tf_transforms': True,
        'num_cameras': len(prefixes(given)),
        'use_lidar': False,
        'use_segmentation': masked,
        'mapping_type': 'human_with_static_tsdf' if masked else 'static_tsdf',
        'voxel_size': float(given['voxel_size']),
        'input_qos': 'SYSTEM_DEFAULT',  # reliable, as all outputs are
    }
    return [
        Node(
            package='nvblox_ros',
            executable='nvblox_node',
            name='nvblox_node',
            namespace=namespace(given),
            output='screen',
            parameters=[
                *([given['nvblox_params']] if given['nvblox_params'] else []),
                parameters | clock(given),
            ],
            remappings=[
                *inputs(given),
                *tf_remappings(given, given.get('ros_namespace', '')),
            ],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, include the perception, and start nvblox."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in ARGUMENTS
    ]
    perception = IncludeLaunchDescription(PythonLaunchDescriptionSource(PERCEPTION))
    checked, started = OpaqueFunction(function=check), OpaqueFunction(function=actions)
    return LaunchDescription([*declared, checked, perception, started])
