"""Start the page4d node; on request a player for a recording, and RViz.

ros2 launch page4d_ros perception.launch.py image_topic:=/camera/image_rect checkpoint:=weights.pt
ros2 launch page4d_ros perception.launch.py bag:=drive.mcap image_topic:=/camera/image_rect
ros2 launch page4d_ros perception.launch.py cameras:='front=/cam0/image left=/cam1/image'
"""

from pathlib import Path, PurePosixPath

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterFile

SHARE = Path(get_package_share_directory('page4d_ros'))
BOOLEAN = ['true', 'false']

# name, default, description, choices; an empty default leaves the parameter to params_file
ARGUMENTS = (
    ('namespace', '', 'Namespace of the node and of its topics.', None),
    ('params_file', str(SHARE / 'config' / 'perception.yaml'), 'Parameters of the node.', None),
    ('checkpoint', '', 'Weight file, "page4d-small" or "untrained" (model.checkpoint).', None),
    ('device', '', 'cuda, cuda:N, cpu or auto (model.device).', None),
    ('image_topic', 'image', 'Topic of the rectified image.', None),
    (
        'cameras',
        '',
        'Cameras of a rig, the first one gives the pose: NAME=TOPIC of the images, or NAME for '
        'NAME/image; in place of image_topic.',
        None,
    ),
    ('camera_info_topic', '', 'Calibration; empty: camera_info beside image_topic.', None),
    (
        'image_transport',
        'raw',
        'raw, or compressed: image_topic/compressed.',
        ['raw', 'compressed'],
    ),
    (
        'scale_mode',
        '',
        'Source of metric scale (scale.mode), which rtabmap needs.',
        ['', 'none', 'fixed', 'depth', 'odometry', 'camera_height', 'rig'],
    ),
    (
        'publish_size',
        '',
        'Pixels of depth and masks (publish.size): the network or the camera.',
        ['', 'network', 'camera'],
    ),
    ('base_frame', '', 'Base frame (frames.base); "none" tracks the camera itself.', None),
    ('odom_frame', '', 'Frame of the trajectory (frames.odom).', None),
    ('publish_tf', '', 'Send odom to base on /tf (frames.publish_tf).', ['', *BOOLEAN]),
    ('remap_tf', 'false', 'Use namespace/tf instead of /tf, for several robots.', BOOLEAN),
    ('use_sim_time', 'false', 'Follow /clock; always true with a bag.', BOOLEAN),
    ('autostart', 'true', 'Configure and activate; false leaves it to you.', BOOLEAN),
    ('bag', '', 'Recording to play: rosbag1, rosbag2 or MCAP.', None),
    ('bag_rate', '1.0', 'Speed of the recording.', None),
    ('bag_topics', '', 'Further topics of it to play, such as /tf; "all" plays all.', None),
    ('rviz', 'false', 'Start RViz.', BOOLEAN),
    ('log_level', 'info', 'Log level of the node.', None),
)
OVERRIDES = {
    'checkpoint': 'model.checkpoint',
    'device': 'model.device',
    'scale_mode': 'scale.mode',
    'publish_size': 'publish.size',
    'base_frame': 'frames.base',
    'odom_frame': 'frames.odom',
    'publish_tf': 'frames.publish_tf',
}


def parameters(given: dict[str, str]) -> dict[str, object]:
    """Parameters that the launch arguments set, over those of params_file."""
    out = {key: given[name] for name, key in OVERRIDES.items() if given[name]}
    if given['base_frame'] == 'none':
        out['frames.base'] = ''
    if given['publish_tf']:
        out['frames.publish_tf'] = given['publish_tf'] == 'true'
    if given['cameras']:
        out['cameras'] = list(cameras(given))
    out['input.transport'] = given['image_transport']
    out['node.autostart'] = given['autostart'] == 'true'
    out['use_sim_time'] = bool(given['bag']) or given['use_sim_time'] == 'true'
    return out


def cameras(given: dict[str, str]) -> dict[str, str]:
    """Topic of the images of each camera of a rig, by name; empty without a rig."""
    pairs = (word.partition('=') for word in given['cameras'].split())
    return {name: topic or f'{name}/image' for name, _, topic in pairs}


def inputs(image: str, info: str, prefix: str = '') -> list[tuple[str, str]]:
    """Topic of each input of one camera; "" for the calibration beside the images."""
    image = image.removesuffix('/compressed')
    return [
        (f'{prefix}image', image),
        (f'{prefix}image/compressed', f'{image}/compressed'),
        (f'{prefix}camera_info', info or str(PurePosixPath(image).with_name('camera_info'))),
    ]


def remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    """Topic of each input of the node."""
    rig = cameras(given)
    out = [pair for name, topic in rig.items() for pair in inputs(topic, '', f'{name}/')]
    out = out or inputs(given['image_topic'], given['camera_info_topic'])
    if given['remap_tf'] == 'true':
        out += [('/tf', 'tf'), ('/tf_static', 'tf_static')]
    return out


def check(given: dict[str, str]) -> None:
    """Refuse arguments that no list of choices can refuse.

    Raises:
        RuntimeError: an argument makes no sense; the message names it.
    """
    if not given['image_topic'].strip('/'):
        raise RuntimeError(f'image_topic:={given["image_topic"]!r} is no topic: name the images')
    if given['cameras'] and (given['camera_info_topic'] or given['image_topic'] != 'image'):
        raise RuntimeError('cameras:= names the topics itself: leave out the others')
    if given['rviz'] == 'true':  # before the node starts, which nobody would stop
        try:
            get_package_prefix('rviz2')
        except LookupError as error:
            raise RuntimeError('rviz:=true needs rviz2, which is not installed') from error
    try:
        rate = float(given['bag_rate'])
    except ValueError:
        rate = 0.0
    if not 0 < rate < float('inf'):
        raise RuntimeError(f'bag_rate:={given["bag_rate"]!r}: give a number above 0, such as 0.5')


def actions(context: LaunchContext) -> list:
    """Actions to start, for arguments that are resolved."""
    given = {name: context.launch_configurations[name] for name, *_ in ARGUMENTS}
    check(given)
    sim_time = parameters(given)['use_sim_time']
    out = [
        LifecycleNode(
            package='page4d_ros',
            executable='page4d_node',
            name='page4d',
            namespace=given['namespace'],
            output='screen',
            parameters=[
                ParameterFile(given['params_file'], allow_substs=True),
                parameters(given),
            ],
            remappings=remappings(given),
            arguments=['--ros-args', '--log-level', given['log_level']],
        )
    ]
    if given['bag']:
        page4d = Path(get_package_prefix('page4d_ros')) / 'lib' / 'page4d_ros' / 'page4d'
        # our player rather than `ros2 bag play`: it also reads rosbag1, and waits for the network
        # to be loaded before the first image
        command = [str(page4d), 'play', given['bag'], '--rate', given['bag_rate'], '--wait']
        if given['bag_topics'] != 'all':
            ours = [topic for name, topic in remappings(given) if not name.startswith('/tf')]
            # not what the robot's own nodes said then: odometry, tf, commands
            wanted = [*ours, '/tf_static', *given['bag_topics'].split()]
            command += [f'--topic=/{topic.lstrip("/")}' for topic in wanted]
        out.append(ExecuteProcess(cmd=command, output='screen'))
    if given['rviz'] == 'true':
        out.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=given['namespace'],
                arguments=['-d', str(SHARE / 'config' / 'perception.rviz')],
                parameters=[{'use_sim_time': sim_time}],
            )
        )
    return out


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments, then start what they ask for."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=actions)])
