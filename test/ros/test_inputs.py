"""Subscriptions to cameras: reliability, images that are lost, room in shared memory."""

import fcntl
import os

import pytest
from robot import START, STEP, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from page4d_ros.ros import inputs, transport

BEST_EFFORT, RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE


def subscription(robot):
    return robot.node.session.inputs[0].images


def test_the_subscription_is_reliable_where_all_publishers_are(graph):
    robot = Robot(graph)
    assert subscription(robot).reliability is RELIABLE
    other = graph.node.create_publisher(
        Image, 'image', QoSProfile(depth=5, reliability=BEST_EFFORT)
    )
    graph.until(lambda: subscription(robot).reliability is BEST_EFFORT, what='following down')
    graph.until(lambda: other.get_subscription_count() > 0, what='the match')
    other.publish(robot.image(START))
    robot.wait_for(START)
    graph.node.destroy_publisher(other)
    graph.until(lambda: subscription(robot).reliability is RELIABLE, what='following up')
    graph.until(lambda: robot.images.get_subscription_count() > 0, what='the match')
    robot.show(START + STEP)


@pytest.mark.parametrize('asked', [BEST_EFFORT, RELIABLE], ids=lambda asked: asked.name)
def test_the_user_may_fix_the_reliability(graph, asked):
    override = {'qos_overrides./image.subscription.reliability': asked.name.lower()}
    robot = Robot(graph, **override)
    assert subscription(robot).reliability is asked
    robot.show(START)
    assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert robot.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    subscription(robot).follow()
    assert subscription(robot).reliability is asked


def test_a_reliability_that_does_not_exist_is_refused(graph):
    override = {'qos_overrides./image.subscription.reliability': 'realible'}
    robot = Robot(graph, activate=False, **override)
    assert robot.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert robot.node.trigger_activate() == TransitionCallbackReturn.FAILURE


class Time:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(
    ('infos', 'images', 'lost'), [(30, 8, True), (30, 29, False), (30, 0, False), (1, 0, False)]
)
def test_images_lost_on_their_way_are_told(graph, monkeypatch, infos, images, lost):
    robot = Robot(graph)
    camera = robot.node.session.inputs[0]
    time = Time()
    monkeypatch.setattr(inputs, 'time', time)
    camera._counts.clear()
    camera.count()
    for _ in range(inputs.SPAN):
        time.now += 1.0
        camera._seen[0] += infos
        camera._seen[1] += images
        camera.count()
    assert bool(camera.loss()) is lost
    assert bool(camera.stuck()) is (images == 0 and infos > 1)
    monkeypatch.setattr(camera.images, 'publishers', lambda: 0)
    assert not camera.stuck()  # nobody sends
    if lost:
        said = f'{images} images/s arrive on /image beside {infos} camera_info/s'
        assert said in camera.loss()
        assert 'publish reliably' in camera.loss()
        assert camera.loss() in robot.node.session.findings


def test_images_in_the_other_transport_are_told(graph):
    robot = Robot(graph)
    (camera,) = robot.node.session.inputs
    kind = 'sensor_msgs/msg/CompressedImage'
    other = inputs.ImageSubscription(robot.node, kind, 'image/compressed', print, 5)
    graph.until(other.other_transport, what='the advice')
    assert other.other_transport() == ', but /image is published: set input.transport to raw'
    other.destroy()
    assert camera.images.other_transport() == ''
    graph.node.destroy_publisher(robot.images)
    robot.images = graph.node.create_publisher(CompressedImage, 'image/compressed', 5)
    graph.until(camera.images.other_transport, what='the advice')
    found = camera.absence(6.0)
    assert found.startswith('no image for 6 s on /image (')
    assert found.endswith(
        ', but /image/compressed is published: set input.transport to compressed'
    )


# -- shared memory --------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in (*transport.VARIABLES, transport.TRANSPORTS, 'ROS_LOCALHOST_ONLY'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    identifier = 'rmw_fastrtps_cpp'
    monkeypatch.setattr(transport, 'get_rmw_implementation_identifier', lambda: identifier)
    return monkeypatch


def used():
    transport.make_room()
    return os.environ.get(transport.VARIABLES[0], '')


def test_fast_dds_gets_the_profile(environment):
    assert used().endswith(transport.PROFILE)


@pytest.mark.parametrize(
    'name', [*transport.VARIABLES, transport.TRANSPORTS], ids=lambda name: name
)
def test_what_the_user_has_chosen_stays(environment, name):
    environment.setenv(name, 'mine')
    assert used() == ('mine' if name == transport.VARIABLES[0] else '')
    assert os.environ[name] == 'mine'


def test_where_the_profile_is_no_good(environment, tmp_path):
    with environment.context() as patch:
        patch.setattr(transport, 'get_rmw_implementation_identifier', lambda: 'rmw_cyclonedds_cpp')
        assert not used()
    with environment.context() as patch:
        patch.setattr(transport, 'ROOM', 1 << 60)
        assert not used()
    with environment.context() as patch:
        patch.setattr(transport, 'SHARED_MEMORY', tmp_path / 'none')
        assert not used()
    environment.setenv('ROS_LOCALHOST_ONLY', '1')
    assert not used()
    environment.delenv('ROS_LOCALHOST_ONLY')
    (tmp_path / transport.FILES[0]).touch()
    assert not used()


def test_segments_of_processes_that_are_gone_are_removed(environment, tmp_path):
    environment.setattr(transport, 'SHARED_MEMORY', tmp_path)
    names = {name: f'fastrtps_{name * 16}' for name in 'abc'}
    for name in (*names.values(), 'fastrtps_port7400', 'mine'):
        for path in (tmp_path / name, tmp_path / f'{name}{transport.LOCK}'):
            path.touch()
            if name != names['c']:  # which was made just now
                os.utime(path, (0, 0))
    with (tmp_path / f'{names["b"]}{transport.LOCK}').open() as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        transport.make_room()
    left = {path.name for path in tmp_path.iterdir()}
    assert not [name for name in left if names['a'] in name]
    assert len(left) == 8
