"""Perception with octomap_server behind it: an octree of what does not move.

ros2 launch page4d_ros octomap.launch.py image_topic:=/camera/image_rect scale_mode:=fixed

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
ARGUMENTS = (
    ('resolution', '0.05', 'Edge of the smallest voxels, in metres.'),
    ('max_range', '5.0', 'Points farther away only clear the view, in metres.'),
    ('world_frame', '', 'Frame of the map; empty: odom_frame. With a SLAM back end, map.'),
)


def check(_context: LaunchContext) -> list:
    """Refuse to start without octomap_server."""
    need('octomap_server', 'octomap.launch.py', get_package_prefix)
    return []


def actions(context: LaunchContext) -> list:
    """Start octomap_server beside the node."""
    given = context.launch_configurations
    parameters = {
        'frame_id': given['world_frame'] or given['odom_frame'] or 'odom',
        'base_frame_id': given['base_frame'].replace('none', '') or 'base_link',
        'resolution': float(given['resolution']),
        'sensor_model.max_range': float(given['max_range']),
    }
    return [
        Node(
            package='octomap_server',
            executable='octomap_server_node',
            name='octomap_server',
            namespace=namespace(given),
            output='screen',
            parameters=[parameters | clock(given)],
            remappings=[
                ('cloud_in', f'{prefixes(given)[0]}points/static'),
                *tf_remappings(given, given.get('ros_namespace', '')),
            ],
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, include the perception, and start octomap_server."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    perception = IncludeLaunchDescription(PythonLaunchDescriptionSource(PERCEPTION))
    checked, started = OpaqueFunction(function=check), OpaqueFunction(function=actions)
    return LaunchDescription([*declared, checked, perception, started])
