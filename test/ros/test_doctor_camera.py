"""`page4d doctor` beside a camera on a real graph."""

import json
import os
import subprocess
import sys

import pytest
from fakes import CAMERA, picture
from robot import MAKE, MOUNT

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.srv', reason='the workspace is not built')

from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from page4d_ros.messages import encode


def doctor(*words):
    command = [sys.executable, '-m', 'page4d_ros.cli', 'doctor', '--json', '--seconds', '2']
    done = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=120, check=False,
        env=dict(os.environ),
    )  # fmt: skip
    found = json.loads(done.stdout) if done.stdout else {'checks': []}
    return done, {check['name']: check for check in found['checks']}


def test_a_camera_is_watched(graph):
    images = graph.node.create_publisher(Image, 'cam/image', QoSProfile(depth=10))
    infos = graph.node.create_publisher(CameraInfo, 'cam/camera_info', QoSProfile(depth=10))
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    static = graph.node.create_publisher(TFMessage, '/tf_static', latched)
    head = encode.header(MAKE, 0, 'base_link')
    at = encode.pose(MAKE, MOUNT)
    static.publish(TFMessage(transforms=[encode.transform_stamped(MAKE, head, 'optical', at)]))

    def show():
        head = encode.header(MAKE, graph.node.get_clock().now().nanoseconds, 'optical')
        infos.publish(encode.camera_info(MAKE, head, CAMERA))
        images.publish(encode.image(MAKE, head, picture(1)))

    graph.node.create_timer(0.05, show)
    done, checks = doctor('--image-topic', 'cam/image')
    assert done.returncode == 0, done.stdout + done.stderr
    names = ('camera', 'camera rate', 'camera image', 'camera stamps', 'camera_info', 'tf')
    assert {name: checks[name]['level'] for name in names} == dict.fromkeys(names, 'ok')
    assert checks['camera image']['text'] == '64x48 rgb8'
    assert 'reliable' in checks['camera rate']['text']
    assert checks['interfaces']['level'] == 'ok'
    assert 'domain' in checks['middleware']['text']


def test_a_camera_that_is_not_there_and_one_that_is_no_name(graph):
    done, checks = doctor('--image-topic', '/nobody/image')
    assert done.returncode == 1
    assert 'nobody publishes /nobody/image' in checks['camera']['text']
    assert checks['tf']['level'] == 'skipped'
    done, _ = doctor('--image-topic', 'no such name')
    assert done.returncode == 1
    assert done.stderr.startswith('page4d: ')
    assert len(done.stderr.splitlines()) == 1
