"""Perception with RTAB-Map behind it: odometry, depth without movers, loop closure, map to odom.

ros2 launch page4d_ros rtabmap.launch.py image_topic:=/camera/image_rect scale_mode:=odometry

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
RELIABLE = 1  # as rtabmap's qos parameters count
ARGUMENTS = (
    ('database_path', '~/.ros/rtabmap.db', 'Where the map is kept.'),
    ('rtabmap_args', '', 'Arguments of rtabmap, such as "--delete_db_on_start".'),
    ('map_frame', 'map', 'Frame of the map.'),
    ('localization', 'false', 'Only localize in the map that is there.'),
    # of perception.launch.py, with other defaults
    ('publish_size', 'camera', 'Pixels of depth: few features are found in small images.'),
    ('scale_mode', '', 'Source of metric scale (scale.mode); needed, unless params_file says it.'),
)


def check(context: LaunchContext) -> list:
    """Refuse what RTAB-Map cannot work with, before the node starts.

    Raises:
        RuntimeError: the message says what is missing.
    """
    given = context.launch_configurations
    if given['scale_mode'] in {'', 'none'} and not given.get('params_file'):
        raise RuntimeError(
            'scale_mode:= is needed: rtabmap takes lengths for metres; "fixed" takes those of the '
            'network as they are'
        )
    if given.get('base_frame') == 'none':
        raise RuntimeError('base_frame:=none: rtabmap needs the frame of a robot')
    need('rtabmap_slam', 'rtabmap.launch.py', get_package_prefix)
    return []


def actions(context: LaunchContext) -> list:
    """Start RTAB-Map beside the node."""
    given = context.launch_configurations
    camera = prefixes(given)[0]
    localizes = given['localization'] == 'true'
    parameters = {
        'frame_id': given['base_frame'] or 'base_link',
        'map_frame_id': given['map_frame'],
        'subscribe_depth': True,
        'subscribe_rgb': True,
        'approx_sync': False,  # all stamps of a frame are equal
        'wait_for_transform': 0.2,
        'database_path': given['database_path'],
        'qos_image': RELIABLE,
        'qos_camera_info': RELIABLE,
        'qos_odom': RELIABLE,
        'Mem/IncrementalMemory': str(not localizes).lower(),
        'Mem/InitWMWithAllNodes': str(localizes).lower(),
    }
    return [
        Node(
            package='rtabmap_slam',
            executable='rtabmap',
            name='rtabmap',
            namespace=namespace(given),
            output='screen',
            parameters=[parameters | clock(given)],
            remappings=[
                ('odom', 'odom'),
                ('rgb/image', f'{camera}rgb/image'),
                ('rgb/camera_info', f'{camera}rgb/camera_info'),
                ('depth/image', f'{camera}depth/static'),
                *tf_remappings(given, given.get('ros_namespace', '')),
            ],
            arguments=given['rtabmap_args'].split(),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, include the perception, and start RTAB-Map."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, default, text in ARGUMENTS
    ]
    perception = IncludeLaunchDescription(PythonLaunchDescriptionSource(PERCEPTION))
    checked, started = OpaqueFunction(function=check), OpaqueFunction(function=actions)
    return LaunchDescription([*declared, checked, perception, started])
