"""Consumers' subscriptions on a real graph: every frame can be used, and what is seen is true."""

import copy

import numpy as np
import pytest
from fakes import CAMERA, pose_at
from launch_files import ROOT, load_with_stand_ins, started
from robot import MOUNT, START, STEP, Robot, stamp_of
from ruamel.yaml import YAML

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

import contracts
import rclpy
from contracts import BEST_EFFORT, RELIABLE, Subscriptions, Tf, inverse_moved
from nav_msgs.msg import Odometry
from rclpy.context import Context
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from page4d_ros.geometry.poses import inverse
from page4d_ros.units import NS_PER_S

FRAMES = 5
WALL = 6.0  # metres from the origin of the world that is rendered: fakes.room_depth
FIRST = pose_at(START / NS_PER_S)
KINDS = {
    'rtabmap': {
        'odom': Odometry, 'rgb/image': Image, 'depth/image': Image, 'rgb/camera_info': CameraInfo,
    },
    'octomap': {'cloud_in': PointCloud2},
}  # fmt: skip


def wired(name, **arguments):
    """Topics of a consumer by its own names, its parameters, and those of the perception."""
    perception, consumer = started(
        load_with_stand_ins(name), load_with_stand_ins(), scale_mode='fixed', **arguments
    )
    return dict(consumer.remappings), consumer.parameters[-1], perception.parameters[-1]


def drive(graph, consumers, parameters=None, **values):
    """Show frames to a node with these consumers; returns the robot."""
    given = {k.replace('.', '__'): v for k, v in (parameters or {}).items()}
    robot = Robot(graph, **({'scale__mode': 'fixed'} | given | values))
    robot.mount()
    robot.calibrate()
    topics = {name for name in robot.node.session.sink.publishers if not name.startswith('~')}
    wanted = {n for each in consumers for n in each.topics} & topics
    sink = robot.node.session.sink
    graph.until(lambda: all(sink.publishers[n].get_subscription_count() for n in wanted))
    for i in range(FRAMES):
        robot.show(START + i * STEP)
    return robot


class Consumer(Subscriptions):
    """Subscriptions that know our names of their topics."""

    def __init__(self, graph, kinds, remapped, **qos):
        super().__init__(graph, kinds, remapped, **qos)
        self.topics = [remapped[name] for name in kinds]

    def frames(self, graph):
        graph.until(lambda: len(self.synchronised()) == FRAMES, what='frames of equal stamps')
        return self.synchronised()


def on_the_wall(T_odom_camera, seen, stamp_ns, atol=1e-3):
    """Assert that the camera, and points (n, 3) in odom, are where they are in truth."""
    T_odom_world = MOUNT @ inverse(FIRST)
    true = T_odom_world @ pose_at(stamp_ns / NS_PER_S)
    np.testing.assert_allclose(T_odom_camera, true, atol=1e-5)
    np.testing.assert_allclose(inverse_moved(T_odom_world, seen)[:, 2], WALL, atol=atol)


def without(message, **changes):
    """A copy of a message with other fields; names with __ are of parts."""
    out = copy.deepcopy(message)
    for name, value in changes.items():
        *parts, leaf = name.split('__')
        at = out
        for part in parts:
            at = getattr(at, part)
        setattr(at, leaf, value)
    return out


# -- rtabmap --------------------------------------------------------------------------------------


@pytest.fixture
def rtabmap(graph):
    remapped, parameters, ours = wired('rtabmap')
    reliability = {1: RELIABLE, 2: BEST_EFFORT}[parameters['qos_image']]
    consumer = Consumer(graph, KINDS['rtabmap'], remapped, reliability=reliability)
    tf = Tf(graph)
    ours = {k: v for k, v in ours.items() if not k.startswith('node.')}
    drive(graph, [consumer], ours)
    return consumer.frames(graph), tf, parameters


def test_rtabmap_can_use_every_frame(rtabmap):
    frames, tf, parameters = rtabmap
    assert parameters['approx_sync'] is False
    for frame in frames:
        assert contracts.of_rtabmap(frame, tf, parameters) == []
        depth = contracts.image(frame['depth/image'], contracts.DEPTH)
        assert (depth.shape[1], depth.shape[0]) == (CAMERA.width, CAMERA.height)
        valid = np.isfinite(depth)
        assert 0.5 < valid.mean() < 1.0  # what moves is left out
        K = frame['rgb/camera_info'].k.reshape(3, 3)
        v, u = np.nonzero(valid)
        at = np.stack([u, v, np.ones_like(u)], -1) @ np.linalg.inv(K).T * depth[valid][:, None]
        stamp = stamp_of(frame['rgb/image'])
        T = tf.at('odom', 'camera', stamp)
        on_the_wall(T, contracts.moved(T, at), stamp, atol=5e-3)  # brought to more pixels


def test_rtabmap_starts_one_map(rtabmap):
    """Identity after another pose, or lost odometry, would begin a new one."""
    frames, *_ = rtabmap
    for frame in frames[1:]:
        at = frame['odom'].pose.pose
        assert np.linalg.norm([at.position.x, at.position.y, at.position.z]) > 1e-3
        assert abs(at.orientation.w) > 0.1


@pytest.mark.parametrize(
    ('topic', 'changes', 'complaint'),
    [
        ('depth/image', {'encoding': '8UC1'}, 'depth: encoding'),
        ('depth/image', {'width': 63}, 'depth: step'),
        ('depth/image', {'step': 56}, 'depth: step'),
        ('depth/image', {'width': 100}, 'no integer ratio'),
        ('rgb/image', {'encoding': '8UC3'}, 'rgb: encoding'),
        ('rgb/image', {'header__frame_id': 'elsewhere'}, 'no tf from the robot'),
        ('rgb/image', {'header__stamp__nanosec': 5}, 'no tf at the stamp'),
        ('rgb/camera_info', {'width': 112}, 'another size'),
        ('rgb/camera_info', {'k': np.zeros(9)}, 'uncalibrated'),
        ('rgb/camera_info', {'d': [0.1] * 5}, 'not rectified'),
        ('odom', {'child_frame_id': 'camera'}, 'odometry is of camera'),
        ('odom', {'twist__covariance': np.zeros(36)}, 'twist covariance'),
        ('odom', {'pose__covariance': np.full(36, 9999.0)}, 'pose covariance'),
    ],
)
def test_a_breach_of_rtabmaps_contract_is_seen(rtabmap, topic, changes, complaint):
    frames, tf, parameters = rtabmap
    broken = frames[-1] | {topic: without(frames[-1][topic], **changes)}
    assert any(complaint in c for c in contracts.of_rtabmap(broken, tf, parameters))


# -- nvblox ---------------------------------------------------------------------------------------


@pytest.mark.parametrize('movers', ['mapped', 'left_out'])
def test_nvblox_can_use_every_frame(graph, movers):
    remapped, parameters, _ = wired('nvblox', movers=movers)
    names = [n for n in remapped if n.startswith('camera_')]
    kinds = {n: CameraInfo if n.endswith('camera_info') else Image for n in names}
    assert parameters['input_qos'] == 'SYSTEM_DEFAULT'
    qos = ReliabilityPolicy.SYSTEM_DEFAULT
    # colour with the mask, and depth with the mask, each of them synchronised
    groups = [[n for n in names if 'depth' not in n], [n for n in names if 'color' not in n]]
    consumers = [
        Consumer(graph, {n: kinds[n] for n in group}, remapped, reliability=qos)
        for group in groups
    ]
    tf = Tf(graph)
    drive(graph, consumers)
    for consumer in consumers:
        for frame in consumer.frames(graph):
            assert contracts.of_nvblox(frame, tf, parameters) == []
    frame = consumers[1].frames(graph)[-1]
    depth = contracts.image(frame['camera_0/depth/image'], contracts.DEPTH)
    if movers == 'left_out':
        assert np.isnan(depth).any()
        return
    mask = contracts.image(frame['camera_0/mask/image'], {'mono8'})
    assert mask.shape == depth.shape
    assert 0 < (mask == 255).mean() < 0.5
    assert np.isfinite(depth[mask == 255]).any()  # its depth is nvblox's to map as moving
    for topic, changes, complaint in (
        ('mask/image', {'encoding': '8UC1'}, 'mask: encoding 8UC1'),
        ('mask/camera_info', {'height': 480}, 'mask: camera_info is of another size'),
        ('depth/image', {'header__frame_id': 'nowhere'}, 'depth: no tf at the stamp'),
        ('depth/camera_info', {'header__frame_id': 'x'}, 'depth: camera_info is of another frame'),
    ):
        name = f'camera_0/{topic}'
        broken = frame | {name: without(frame[name], **changes)}
        assert complaint in contracts.of_nvblox(broken, tf, parameters)


# -- octomap, nav2, robot_localization ------------------------------------------------------------


def clouds_are_right(graph, consumer, name, frame, tf):
    graph.until(lambda: len(consumer.received[name]) == FRAMES, what='clouds')
    for stamp, cloud in consumer.received[name].items():
        assert contracts.of_cloud(cloud, tf, frame) == []
        seen, origin = contracts.in_frame(cloud, tf, frame)
        T = tf.at(frame, cloud.header.frame_id, stamp)
        np.testing.assert_array_equal(origin, T[:3, 3])
        on_the_wall(T, seen, stamp)
    for changes, complaint in (
        ({'header__frame_id': 'nowhere'}, 'no tf at the stamp'),
        ({'header__frame_id': frame}, 'rays would start at the origin of the map'),
        ({'header__stamp__nanosec': 5}, 'no tf at the stamp'),
        ({'fields': cloud.fields[1:]}, 'no x, y, z as float32'),
        ({'row_step': 12}, 'steps and data do not agree'),
    ):
        assert complaint in contracts.of_cloud(without(cloud, **changes), tf, frame)


def test_octomap_server_can_use_every_cloud(graph):
    remapped, parameters, _ = wired('octomap')
    consumer = Consumer(graph, KINDS['octomap'], remapped, depth=5, reliability=BEST_EFFORT)
    tf = Tf(graph)
    drive(graph, [consumer])
    clouds_are_right(graph, consumer, 'cloud_in', parameters['frame_id'], tf)


def parameter_file(name):
    return YAML(typ='safe').load((ROOT / 'config' / name).read_text(encoding='utf-8'))


def layers(which):
    """Sources of each obstacle layer of a costmap, as nav2 reads them."""
    parameters = parameter_file('nav2_costmap.yaml')[which][which]['ros__parameters']
    for name in parameters['plugins']:
        layer = parameters[name]
        assert layer['plugin'].startswith('nav2_costmap_2d::')
        if layer['plugin'].endswith('ObstacleLayer'):
            yield name, {source: layer[source] for source in layer['observation_sources'].split()}


@pytest.mark.parametrize('which', ['local_costmap', 'global_costmap'])
def test_nav2s_layers_take_what_stands_and_what_moves(which):
    found = dict(layers(which))
    for source in (s for sources in found.values() for s in sources.values()):
        assert source['data_type'] == 'PointCloud2'
        assert source['sensor_frame'] == ''
        assert source['max_obstacle_height'] > source['min_obstacle_height']  # 0 and 0 by default
    assert found['standing_layer']['standing']['topic'] == '/points/static'
    assert ('moving_layer' in found) is (which == 'local_costmap')
    if 'moving_layer' in found:
        moving, behind = found['moving_layer']['moving'], found['moving_layer']['behind']
        assert moving['topic'] == '/points/dynamic'
        assert 0 < moving['observation_persistence'] <= 1
        assert not behind['marking']
        assert behind['clearing']


def test_nav2_can_use_every_cloud(graph):
    topics = {s['topic'] for _, sources in layers('local_costmap') for s in sources.values()}
    consumers = [
        Consumer(graph, {t: PointCloud2}, {t: t}, depth=50, reliability=BEST_EFFORT)
        for t in sorted(topics)
    ]
    tf = Tf(graph)
    drive(graph, consumers)
    assert [c.topics for c in consumers] == [['/points/dynamic'], ['/points/static']]
    for consumer in consumers:
        clouds_are_right(graph, consumer, consumer.topics[0], 'odom', tf)


@pytest.mark.parametrize(
    ('name', 'nodes'),
    [
        (
            'nav2_costmap.yaml',
            ['/local_costmap/local_costmap', '/global_costmap/global_costmap'],
        ),
        ('robot_localization.yaml', ['/ekf_filter_node']),
    ],
)
def test_rcl_reads_the_parameter_files(name, nodes):
    """It takes no aliases, and no lists of several types, which YAML has."""
    context = Context()
    arguments = ['--ros-args', '--params-file', str(ROOT / 'config' / name)]
    rclpy.init(args=arguments, context=context)
    for namespace, _, leaf in (node.rpartition('/') for node in nodes):
        node = rclpy.create_node(leaf, namespace=namespace or None, context=context)
        assert len(node._parameter_overrides) > 10
        node.destroy_node()
    rclpy.shutdown(context=context)


def test_robot_localization_can_use_every_odometry(graph):
    parameters = parameter_file('robot_localization.yaml')['ekf_filter_node']['ros__parameters']
    topic = parameters['odom0']
    consumer = Consumer(graph, {topic: Odometry}, {topic: topic}, reliability=RELIABLE)
    tf = Tf(graph)
    drive(graph, [consumer], frames__publish_tf=False)
    graph.until(lambda: len(consumer.received[topic]) == FRAMES, what='odometry')
    for odom in consumer.received[topic].values():
        assert contracts.of_robot_localization(odom, parameters) == []
    assert not tf.moving  # that transform is the filter's
    for changes, complaint in (
        ({'child_frame_id': 'camera'}, 'velocities are of camera'),
        ({'header__frame_id': 'map'}, 'poses are in map'),
        ({'twist__covariance': np.zeros(36)}, 'variance 6'),
    ):
        found = contracts.of_robot_localization(without(odom, **changes), parameters)
        assert complaint in found
