"""The node with three cameras on a real graph."""

import time

import numpy as np
import pytest
from fakes import CAMERA, OracleEngine, picture, pose_at
from scipy.spatial.transform import Rotation

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from diagnostic_msgs.msg import DiagnosticArray
from nav_msgs.msg import Odometry
from rclpy.lifecycle import TransitionCallbackReturn
from robot import DEFAULTS, MAKE, MOUNT, START, STEP, Robot, stamp_of
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.messages import encode
from page4d_ros.messages.topics import ON_REQUEST, OPTIONAL, OUTPUTS
from page4d_ros.ros.recorder import recorded_topics
from page4d_ros.units import NS_PER_S

NAMES = ['front', 'left', 'right']
PACE = 0.08  # seconds from image to image, whatever their stamps say
LEFT = transform(Rotation.from_euler('y', -0.6).as_matrix(), (-0.25, 0.05, -0.1))
RIGHT = transform(Rotation.from_euler('y', 0.6).as_matrix(), (0.25, 0.0, -0.15))
MOUNTS = {0: np.eye(4), 1: LEFT, 2: RIGHT}


class RigRobot(Robot):
    """The node behind three cameras; `show_all` publishes one time."""

    def __init__(self, graph, **values):
        engine = OracleEngine(size=DEFAULTS['window.size'], seed=None, mounts=MOUNTS)
        values = {'cameras': NAMES, 'scale__mode': 'fixed', 'model__grid': 'joint'} | values
        super().__init__(graph, engine, activate=False, **values)
        topics = {name: graph.node.create_publisher(Image, f'{name}/image', 100) for name in NAMES}
        self.inputs = list(topics.values())
        self.calibrations = [
            graph.node.create_publisher(CameraInfo, f'{name}/camera_info', 100) for name in NAMES
        ]
        self.outputs = {name: graph.listen(Image, f'{name}/depth/image') for name in NAMES}
        self.odometry = graph.listen(Odometry, 'odom')
        self.diagnostics = graph.listen(DiagnosticArray, '/diagnostics')
        assert self.node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert self.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        publishers = self.node.session.sink.publishers
        heard = [publishers[f'{name}/depth/image'] for name in NAMES]
        heard += [publishers['odom'], publishers['~/status'], *self.inputs, *self.calibrations]
        graph.until(lambda: all(p.get_subscription_count() for p in heard), what='discovery')

    def mount_all(self, wrong=None):
        """Publish where the cameras sit, one of them perhaps `wrong`."""
        items = []
        for view, name in enumerate(NAMES):
            at = encode.pose(MAKE, MOUNT @ MOUNTS[view] @ (wrong or {}).get(name, np.eye(4)))
            head = encode.header(MAKE, 0, 'base_link')
            items.append(encode.transform_stamped(MAKE, head, f'{name}_optical', at))
        self.static.publish(TFMessage(transforms=items))
        listener = self.node.session.sink.listener
        self.graph.until(
            lambda: listener.lookup('base_link', 'right_optical') is not None, what='tf'
        )

    def send(self, name, stamp_ns):
        view = NAMES.index(name)
        array = picture(stamp_ns + view)
        self.inputs[view].publish(self.image(stamp_ns, array, f'{name}_optical'))

    def show_all(self, stamp_ns, names=NAMES):
        for name in names:
            self.send(name, stamp_ns)
        self.wait_for(stamp_ns)

    def position_error(self, message):
        """Distance of an odometry from the truth, in metres."""
        since = inverse(pose_at(START / NS_PER_S)) @ pose_at(stamp_of(message) / NS_PER_S)
        true = (MOUNT @ since @ inverse(MOUNT))[:3, 3]
        at = message.pose.pose.position
        return float(np.linalg.norm(true - (at.x, at.y, at.z)))

    def said(self):
        """Message and values of the newest diagnostics."""
        if not self.diagnostics:
            return '', {}
        status = self.diagnostics[-1].status[0]
        return status.message, {pair.key: pair.value for pair in status.values}


@pytest.mark.parametrize('grid', ['joint', 'per_view'])
def test_every_camera_has_its_outputs_and_the_robot_one_odometry(graph, grid):
    robot = RigRobot(graph, model__grid=grid)
    clouds = [graph.listen(PointCloud2, f'{name}/points/static') for name in NAMES]
    graph.until(
        lambda: all(robot.node.session.sink.wanted(f'{name}/points/static') for name in NAMES),
        what='listeners of the clouds',
    )
    robot.mount_all()
    for name, publisher in zip(NAMES, robot.calibrations, strict=True):
        head = encode.header(MAKE, 0, f'{name}_optical')
        publisher.publish(encode.camera_info(MAKE, head, CAMERA))
    readers = robot.node.session.cameras.readers
    graph.until(lambda: all(reader.calibration for reader in readers), what='calibrations')
    for i in range(6):
        robot.show_all(START + i * STEP)
    last = START + 5 * STEP
    for name, got in zip(NAMES, clouds, strict=True):
        for heard in (got, robot.outputs[name]):  # which arrive one by one
            graph.until(lambda h=heard: h and stamp_of(h[-1]) == last, what=f'outputs of {name}')
        assert {m.header.frame_id for m in [*got, *robot.outputs[name]]} == {f'{name}_optical'}
        assert [stamp_of(m) for m in robot.outputs[name]][-3:] == [
            last - 2 * STEP,
            last - STEP,
            last,
        ]
    assert len(robot.odometry) == len({stamp_of(m) for m in robot.odometry}) >= 5
    assert max(map(robot.position_error, robot.odometry)) < 0.01
    # of this node itself: the graph of ROS may still know another one of its name
    published = {publisher.topic_name for publisher in robot.node.publishers}
    assert '/front/mask/image' in published
    assert '/depth/image' not in published
    graph.until(lambda: robot.said()[1].get('left: received') == '6', what='counters')
    assert robot.said()[1]['left: missing'] in {'0', '1'}
    assert robot.node.callback_errors == 0


@pytest.mark.parametrize(('grid', 'off'), [('joint', 0.03), ('per_view', 0.2)])
def test_late_lossy_and_dead_cameras_leave_one_smooth_odometry(graph, grid, off):
    """Left is two frames late, right loses frames, front dies and comes back.

    View by view, front may come back beside left alone, and nobody knows how both moved since.
    """
    robot = RigRobot(graph, rig__timeout=0.05, model__grid=grid)
    robot.mount_all()
    robot.show_all(START)
    for i in range(1, 41):
        time.sleep(PACE)
        alive = not 14 <= i < 26
        for name in ['front'] * alive + ['right'] * (i % 3 != 1):
            robot.send(name, START + i * STEP)
        if i > 2:
            robot.send('left', START + (i - 2) * STEP)
    graph.until(lambda: stamp_of(robot.odometry[-1]) >= START + 39 * STEP, what='the end')
    for name in NAMES:
        stamps = [stamp_of(m) for m in robot.outputs[name]]
        assert stamps == sorted(set(stamps))
        assert len([ns for ns in stamps if ns > START + 26 * STEP]) >= 4, name  # of 9 to 14
    assert any(START + 17 * STEP < stamp_of(m) < START + 26 * STEP for m in robot.odometry)
    assert max(map(robot.position_error, robot.odometry)) < off
    graph.until(lambda: int(robot.said()[1].get('left: late', 0)) > 20, what='counters')
    assert robot.node.callback_errors == 0


def test_a_wrong_extrinsic_is_named_in_the_diagnostics(graph):
    robot = RigRobot(graph)
    turn = transform(Rotation.from_euler('y', 20, degrees=True).as_matrix(), np.zeros(3))
    robot.mount_all({'left': turn})
    for i in range(3):
        robot.show_all(START + i * STEP)
    graph.until(lambda: len(robot.node.session.perception.rig.mounts) == 3, what='mounts')
    for i in range(3, 18):
        robot.show_all(START + i * STEP)
    graph.until(lambda: 'camera left does not sit' in robot.said()[0], what='the finding')
    assert 'off by 20 degrees' in robot.said()[0]
    robot.mount_all()
    graph.until(
        lambda: np.allclose(robot.node.session.perception.rig.mounts[1], MOUNT @ LEFT),
        what='the new mount',
    )
    robot.show_all(START + 18 * STEP)
    graph.until(lambda: 'left' not in robot.said()[0], what='the end of the finding')


def test_the_recorder_knows_the_outputs_of_a_rig(graph):
    robot = RigRobot(graph)
    known = dict(recorded_topics('/page4d', NAMES, (*OUTPUTS, *ON_REQUEST, *OPTIONAL)))
    own = {p.topic_name for p in robot.node.session.sink.publishers.values()}
    assert {topic for topic in own if 'bodies' not in topic} <= set(known)
    assert known['/left/depth/image'] == 'sensor_msgs/msg/Image'
    assert '/depth/image' not in known
