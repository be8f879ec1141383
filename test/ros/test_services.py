"""Services that place, restart and save: their answers, and what follows on the topics."""

import pathlib

import numpy as np
import pytest
from robot import START, STEP, Robot

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.srv', reason='the workspace is not built')

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry, Path
from std_srvs.srv import Trigger

from page4d_ros.messages.trajectory import SUFFIXES
from page4d_ros.srv import SetPose


def asked_pose(frame='odom', x=5.0, quaternion=(0.0, 0.0, 1.0, 0.0)):
    pose = PoseStamped()
    pose.header.frame_id = frame
    pose.pose.position.x = x
    q = pose.pose.orientation
    q.x, q.y, q.z, q.w = quaternion
    return SetPose.Request(pose=pose)


def at(message):
    p, q = message.pose.pose.position, message.pose.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w])


def show(robot, odometry, *indices):
    for i in indices:
        robot.show(START + i * STEP)
    robot.graph.until(lambda: len(odometry) == indices[-1] + 1, what='odometry')
    return at(odometry[-1])


def test_the_pose_may_be_set_and_motion_goes_on_from_there(graph):
    odometry, paths = graph.listen(Odometry, 'odom'), graph.listen(Path, 'path')
    robot = Robot(graph, scale__mode='fixed')
    robot.mount()
    before = show(robot, odometry, 0, 1, 2)
    answer = graph.call(SetPose, 'page4d/set_pose', asked_pose())
    assert answer.success, answer.message
    assert 'at (5, 0, 0) in odom' in answer.message
    after = show(robot, odometry, 3)
    # turned by 180 degrees about z: one step on from x = 5, and of the same length as before
    step = np.linalg.norm(after[:3] - (5.0, 0.0, 0.0))
    assert 0 < step < 0.3
    assert abs(after[5]) > 0.9
    assert robot.status[-1].window_fill == 3  # nothing was lost
    graph.until(lambda: len(paths) == 4)
    assert [len(path.poses) for path in paths] == [1, 2, 3, 1]
    assert np.linalg.norm(before[:3]) < 1.0


@pytest.mark.parametrize(
    ('request_', 'said'),
    [
        (asked_pose(frame='map'), "in 'map'; transform it to 'odom'"),
        (asked_pose(quaternion=(0.0, 0.0, 0.0, 0.0)), 'unit quaternion'),
        (asked_pose(x=float('nan')), 'finite'),
    ],
)
def test_a_pose_that_is_none_is_refused(graph, request_, said):
    robot = Robot(graph)
    answer = graph.call(SetPose, 'page4d/set_pose', request_)
    assert not answer.success
    assert said in answer.message
    assert robot.node.callback_errors == 0


def test_a_pose_set_after_a_reset_holds_and_a_reset_after_it_too(graph):
    odometry = graph.listen(Odometry, 'odom')
    robot = Robot(graph, scale__mode='fixed')
    robot.mount()
    show(robot, odometry, 0, 1)
    assert graph.call(Trigger, 'page4d/reset', Trigger.Request()).success
    assert graph.call(SetPose, 'page4d/set_pose', asked_pose()).success
    np.testing.assert_allclose(show(robot, odometry, 2)[:3], (5.0, 0.0, 0.0), atol=1e-9)
    assert graph.call(SetPose, 'page4d/set_pose', asked_pose(x=9.0)).success
    assert graph.call(Trigger, 'page4d/reset', Trigger.Request()).success
    np.testing.assert_allclose(show(robot, odometry, 3)[:3], 0.0, atol=1e-9)


def test_a_window_that_is_reset_keeps_the_pose(graph):
    odometry = graph.listen(Odometry, 'odom')
    robot = Robot(graph, scale__mode='fixed')
    robot.mount()
    before = show(robot, odometry, 0, 1, 2)
    assert graph.call(Trigger, 'page4d/reset_window', Trigger.Request()).success
    after = show(robot, odometry, 3)
    assert robot.status[-1].window_fill == 1
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_the_cloud_is_saved(graph, tmp_path):
    robot = Robot(graph, path__folder=str(tmp_path), points__max_points=50)
    robot.mount()
    refused = graph.call(Trigger, 'page4d/save_cloud', Trigger.Request())
    assert not refused.success
    assert 'set map.voxel' in refused.message
    robot.show(START)
    settings = [graph_parameter('map.voxel', 0.2), graph_parameter('map.rate', 0.0)]
    assert all(result.successful for result in robot.node.set_parameters(settings))
    assert (
        'no static points yet'
        in graph.call(Trigger, 'page4d/save_cloud', Trigger.Request()).message
    )
    for i in range(1, 4):
        robot.show(START + i * STEP)
    saved = graph.call(Trigger, 'page4d/save_cloud', Trigger.Request())
    assert saved.success, saved.message
    path = pathlib.Path(saved.message.partition(':')[0])
    assert path.name == f'page4d_cloud_{START + 3 * STEP}.ply'
    count = int(saved.message.split(': ')[1].split()[0])
    assert f'element vertex {count}'.encode() in path.read_bytes()
    assert f'POINTS {count}\n'.encode() in path.with_suffix('.pcd').read_bytes()
    assert graph.call(Trigger, 'page4d/save_trajectory', Trigger.Request()).success
    assert {p.suffix for p in tmp_path.iterdir()} == {'.ply', '.pcd', *SUFFIXES}


def graph_parameter(name, value):
    from rclpy.parameter import Parameter

    return Parameter(name, value=value)


def test_services_of_a_node_that_is_not_active_say_so(graph):
    Robot(graph, activate=False)
    for name in ('reset', 'reset_window', 'save_trajectory', 'save_cloud'):
        answer = graph.call(Trigger, f'page4d/{name}', Trigger.Request())
        assert not answer.success
        assert answer.message == 'not configured'
    assert not graph.call(SetPose, 'page4d/set_pose', asked_pose()).success
