"""Start the page4d node; on request a player for a recording, RViz, and Foxglove's bridge.

ros2 launch page4d_ros perception.launch.py image_topic:=/camera/image_rect checkpoint:=weights.pt
ros2 launch page4d_ros perception.launch.py bag:=drive.mcap image_topic:=/camera/image_rect
ros2 launch page4d_ros perception.launch.py static_tf:='0.2 0 1.1 0 0.1 0'
ros2 launch page4d_ros perception.launch.py cameras:='front=/cam0/image left=/cam1/image'

Others may include it (docs/launch.md). What the node is told comes, the later the stronger, from
SetParameter of launch_ros, params_file, and the arguments here that are not empty.
"""

import re
from pathlib import Path, PurePosixPath
from tempfile import NamedTemporaryFile

from ament_index_python.packages import get_package_prefix
from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    Shutdown,
    TimerAction,
)
from launch.event_handlers import OnProcessExit
from launch.events import matches_action
from launch_ros.actions import LifecycleNode, Node
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterFile
from lifecycle_msgs.msg import Transition

from page4d_ros.messages.layouts import Shown, rviz
from page4d_ros.ros.launching import cameras, clock, namespace, need, tf_remappings, within

BOOLEAN = ['true', 'false']
LAST_FRAMES = 2.0  # seconds for the estimates of a recording's last images
RESPAWN_DELAY = 2.0

# name, default, description, choices; an empty default leaves the parameter to params_file
ARGUMENTS = (
    ('namespace', '', 'Namespace of the node and of its topics, such as that of the robot.', None),
    (
        'camera_name',
        '',
        'Name of the camera: node and topics are below it, within namespace. One of several '
        'cameras with a node each; only one of them may move frames.base.',
        None,
    ),
    (
        'params_file',
        '',
        'YAML file of parameters; the one in config/ is a template with all defaults.',
        None,
    ),
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
        '',
        'raw, or compressed: image_topic/compressed (input.transport).',
        ['', 'raw', 'compressed'],
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
    (
        'static_tf',
        '',
        'Pose of the camera on base_frame where no URDF tells: "x y z yaw pitch roll" of its body '
        'axes (x forward), metres and radians (frames.mount).',
        None,
    ),
    ('odom_frame', '', 'Frame of the trajectory (frames.odom).', None),
    ('publish_tf', '', 'Send odom to base on /tf (frames.publish_tf).', ['', *BOOLEAN]),
    ('remap_tf', 'false', 'Use namespace/tf instead of /tf, for several robots.', BOOLEAN),
    ('use_sim_time', '', 'Follow /clock; always true with a bag.', ['', *BOOLEAN]),
    ('autostart', 'true', 'Configure and activate; false leaves it to you.', BOOLEAN),
    ('respawn', 'false', 'Start the node again if it ends.', BOOLEAN),
    ('bag', '', 'Recording to play: rosbag1, rosbag2 or MCAP.', None),
    ('bag_rate', '1.0', 'Speed of the recording.', None),
    ('bag_topics', '', 'Further topics of it to play, such as /tf; "all" plays all.', None),
    (
        'bag_end',
        '',
        'When the recording has ended, shutdown ends the launch, and stay keeps the node, '
        'inactive, to look at; empty: stay with rviz or foxglove, else shutdown.',
        ['', 'shutdown', 'stay'],
    ),
    ('rviz', 'false', 'Start RViz.', BOOLEAN),
    ('foxglove', 'false', "Start Foxglove's bridge, at ws://localhost:8765.", BOOLEAN),
    ('log_level', 'info', 'Log level of the node.', None),
)
OVERRIDES = {
    'checkpoint': 'model.checkpoint',
    'device': 'model.device',
    'image_transport': 'input.transport',
    'scale_mode': 'scale.mode',
    'publish_size': 'publish.size',
    'base_frame': 'frames.base',
    'odom_frame': 'frames.odom',
    'publish_tf': 'frames.publish_tf',
}
VIEWERS = {'rviz': 'rviz2', 'foxglove': 'foxglove_bridge'}  # argument and package


def parameters(given: dict[str, str]) -> dict[str, object]:
    """Parameters that the launch arguments set, over those of params_file."""
    out = {key: given[name] for name, key in OVERRIDES.items() if given[name]}
    if given['base_frame'] == 'none':
        out['frames.base'] = ''
    if given['publish_tf']:
        out['frames.publish_tf'] = given['publish_tf'] == 'true'
    if given['cameras']:
        out['cameras'] = list(cameras(given))
    if given['static_tf']:
        out['frames.mount'] = numbers(given['static_tf'])
    out['node.autostart'] = given['autostart'] == 'true'
    return out | clock(given)


def numbers(text: str) -> list[float]:
    """Numbers of static_tf.

    Raises:
        RuntimeError: they are not six.
    """
    try:
        out = [float(word) for word in text.replace(',', ' ').split()]
    except ValueError:
        out = []
    if len(out) != 6:
        raise RuntimeError(f'static_tf:={text!r}: give six numbers, "x y z yaw pitch roll"')
    return out


def inputs(image: str, info: str, prefix: str = '') -> list[tuple[str, str]]:
    """Topic of each input of one camera; "" for the calibration beside the images."""
    image = image.removesuffix('/compressed')
    return [
        (f'{prefix}image', image),
        (f'{prefix}image/compressed', f'{image}/compressed'),
        (f'{prefix}camera_info', info or str(PurePosixPath(image).with_name('camera_info'))),
    ]


def remappings(given: dict[str, str], outer: str = '') -> list[tuple[str, str]]:
    """Topic of each input of the node; `outer` is the namespace around this file's."""
    rig = cameras(given)
    out = [pair for name, topic in rig.items() for pair in inputs(topic, '', f'{name}/')]
    out = out or inputs(given['image_topic'], given['camera_info_topic'])
    return out + tf_remappings(given, outer)


def check(given: dict[str, str]) -> None:
    """Refuse arguments that no list of choices can refuse.

    Raises:
        RuntimeError: an argument makes no sense; the message names it.
    """
    if not given['image_topic'].strip('/'):
        raise RuntimeError(f'image_topic:={given["image_topic"]!r} is no topic: name the images')
    if given['cameras'] and (given['camera_info_topic'] or given['image_topic'] != 'image'):
        raise RuntimeError('cameras:= names the topics itself: leave out the others')
    if not re.fullmatch(r'([A-Za-z]\w*)?', given['camera_name']):
        raise RuntimeError(f'camera_name:={given["camera_name"]!r}: letters, digits and _ only')
    for name, package in VIEWERS.items():
        if given[name] == 'true':
            need(package, f'{name}:=true', get_package_prefix)
    if given['static_tf'] and given['base_frame'] == 'none':
        raise RuntimeError('static_tf:= is a place on base_frame, which is none')
    if given['bag'] and not Path(given['bag']).exists():
        raise RuntimeError(f'bag:={given["bag"]!r}: no such file or folder')
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
    outer = context.launch_configurations.get('ros_namespace', '')  # of PushRosNamespace
    file = [ParameterFile(given['params_file'], allow_substs=True)] if given['params_file'] else []
    node = LifecycleNode(
        package='page4d_ros',
        executable='page4d_node',
        name='page4d',
        namespace=namespace(given),
        output='screen',
        parameters=[*file, parameters(given)],
        remappings=remappings(given, outer),
        arguments=['--ros-args', '--log-level', given['log_level']],
        respawn=given['respawn'] == 'true',
        respawn_delay=RESPAWN_DELAY,
    )
    return [node, *played(given, outer, node), *shown(given)]


def played(given: dict[str, str], outer: str, node: LifecycleNode) -> list:
    """Player of the recording, and what happens when it ends."""
    if not given['bag']:
        return []
    page4d = Path(get_package_prefix('page4d_ros')) / 'lib' / 'page4d_ros' / 'page4d'
    # our player rather than `ros2 bag play`: it also reads rosbag1, and waits for the network
    # to be loaded before the first image
    command = [str(page4d), 'play', given['bag'], '--rate', given['bag_rate'], '--wait']
    if given['bag_topics'] != 'all':
        around = within(outer, namespace(given))
        ours = [topic for name, topic in remappings(given, outer) if not name.startswith('/tf')]
        resolved = [topic if topic.startswith('/') else f'{around}/{topic}' for topic in ours]
        # not what the robot's own nodes said then: odometry, tf, commands
        wanted = [*resolved, '/tf_static', *given['bag_topics'].split()]
        command += [f'--topic=/{topic.lstrip("/")}' for topic in wanted]
    player = ExecuteProcess(cmd=command, output='screen')
    watched = given['rviz'] == 'true' or given['foxglove'] == 'true'
    stays = given['bag_end'] == 'stay' or (watched and not given['bag_end'])

    def ended(event, context: LaunchContext) -> list:
        if context.is_shutdown:
            return []
        if event.returncode:
            raise RuntimeError(f'bag:={given["bag"]} was not played: its player has said why')
        return farewell(node) if stays else finish()

    return [player, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=ended))]


def finish() -> list:
    """End the launch when the last estimates are out."""
    text = 'the recording has ended: ending the launch'
    actions = [LogInfo(msg=text), Shutdown(reason=text)]
    return [TimerAction(period=LAST_FRAMES, actions=actions)]


def farewell(node: LifecycleNode) -> list:
    """Let the node rest, so that it does not wait for images, and say so."""
    rest = ChangeState(
        lifecycle_node_matcher=matches_action(node),
        transition_id=Transition.TRANSITION_DEACTIVATE,
    )
    text = 'the recording has ended: the node is inactive now, and Ctrl-C ends the launch'
    return [TimerAction(period=LAST_FRAMES, actions=[EmitEvent(event=rest), LogInfo(msg=text)])]


def rviz_file(given: dict[str, str]) -> str:
    """Path of a layout for the cameras; RViz would save changes to it."""
    node = Shown(list(cameras(given)), odom=given['odom_frame'] or 'odom')
    with NamedTemporaryFile('w', prefix='page4d_', suffix='.rviz', delete=False) as file:
        file.write(rviz(node))
    return file.name


def shown(given: dict[str, str]) -> list:
    """Programs that show the outputs."""
    out = []
    if given['rviz'] == 'true':
        out.append(
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=namespace(given),
                arguments=['-d', rviz_file(given)],
                parameters=[clock(given)] if clock(given) else [],
            )
        )
    if given['foxglove'] == 'true':
        out.append(
            Node(
                package='foxglove_bridge',
                executable='foxglove_bridge',
                output='screen',
                parameters=[clock(given)] if clock(given) else [],
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
