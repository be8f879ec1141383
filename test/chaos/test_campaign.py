"""The campaign itself: it finds what is wrong, and a handful of faults as `make chaos` throws."""

import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='rclpy is not installed')
pytest.importorskip('page4d_ros.msg', reason='the workspace is not built')

from fakes import CAMERA
from graph import Graph

from chaos import campaign
from chaos.campaign import Try, run, table
from chaos.fault import KINDS
from chaos.watch import STALE, Watch
from chaos.world import MAKE, environment
from page4d_ros.messages import encode
from page4d_ros.perception.clouds import POINT

QUICK = 'random bytes on tf', 'short step', 'duplicates around reset', 'camera info not finite'
NOW, LATER = 10**18, 10**18 + 10**9
environment()
HEAD = encode.header(MAKE, NOW, 'odom')


@pytest.fixture
def watch():
    graph = Graph()
    found = Watch(graph, '/nobody', {})
    found.sent = dict.fromkeys((NOW, LATER), 1e18)
    yield found
    graph.close()


def transform(stamp_ns):
    head = encode.header(MAKE, stamp_ns, 'odom')
    item = encode.transform_stamped(MAKE, head, 'base_link', encode.pose(MAKE, np.eye(4)))
    return MAKE('tf2_msgs/msg/TFMessage', transforms=[item])


def test_stamps_that_repeat_or_go_back_are_found(watch):
    send = [transform(stamp) for stamp in (NOW, NOW, LATER, NOW)]
    found = [watch.transforms('/tf', message) for message in send]
    assert found == [[], ['a stamp repeats'], [], ['stamps go back']]


def test_stamps_may_go_back_where_those_of_images_did(watch):
    seconds = 0.0, 2.0, 3.5, 1.5  # the third image gave no output
    sent = [NOW + round(1e9 * each) for each in seconds]
    now = time.monotonic()
    watch.sent = {stamp: now + 0.1 * i for i, stamp in enumerate(sent)}
    shown = [transform(sent[i]) for i in (0, 1, 3)]
    assert watch.transforms('/tf', shown[0]) == watch.transforms('/tf', shown[1]) == []
    assert watch.transforms('/tf', shown[2]) == ['stamps go back']
    watch.jumps, watch._last = True, {'/tf': sent[1]}
    assert watch.transforms('/tf', shown[2]) == []
    del watch.sent[sent[2]]
    watch._last = {'/tf': sent[1]}
    assert watch.transforms('/tf', shown[2]) == ['stamps go back']


def test_outputs_of_no_image_and_of_long_ago_are_found(watch):
    watch.sent = {LATER: -1e9}
    assert watch.transforms('/tf', transform(NOW)) == ['a stamp of no image']
    assert watch.transforms('/tf', transform(LATER)) == [f'stale by more than {STALE:.0f} s']


def test_what_is_not_finite_is_found(watch):
    broken = transform(NOW)
    broken.transforms[0].transform.rotation.w = float('nan')
    assert watch.transforms('/tf', broken) == ['the transform is not finite']
    depth = encode.image(MAKE, HEAD, np.full((4, 4), -np.inf, np.float32))
    assert watch.image('depth/image', depth) == ['infinite or negative values']
    depth.height = 5
    assert 'sizes contradict each other' in watch.image('mask/image', depth)
    info = encode.camera_info(MAKE, HEAD, CAMERA)
    info.k[0] = 0.0
    assert watch.camera_info('depth/camera_info', info) == ['intrinsics that no camera has']


def test_a_cloud_that_lies_is_found(watch):
    points = np.zeros(3, POINT)
    assert not watch.cloud('points/static', encode.cloud(MAKE, HEAD, points))
    points['y'][1] = np.nan
    message = encode.cloud(MAKE, encode.header(MAKE, LATER, 'odom'), points)
    assert watch.cloud('points/static', message) == ['is_dense, and points are not finite']


def test_there_are_forty_kinds_and_each_is_described():
    assert len(KINDS) >= 40
    assert all(kind.text.endswith('.') for kind in KINDS.values())


class Silent:
    """World whose camera sends nothing, or one that works."""

    def __init__(self, works):
        self.works, self.closed = works, False

    def start(self):
        assert self.works, 'no pose'

    restart = start

    def close(self):
        self.closed = True


@pytest.mark.parametrize('works', [True, False])
def test_a_camera_that_is_stuck_is_started_again(monkeypatch, works):
    monkeypatch.setattr(campaign, 'World', lambda _folder: Silent(works))
    worlds, done, said = [Silent(False)], Try('killed', False), []
    assert campaign._started_again(worlds, done, lambda text, **_: said.append(text)) is works
    assert worlds[0].closed
    assert done.problems[0].startswith('no start afterwards: no pose')
    assert (said[-1] == 'the camera was started again') is works
    assert len(done.problems) == 2 - works


def test_a_node_survives_a_handful_of_faults():
    tries, facts = run([KINDS[name] for name in QUICK], seed=0, faults=len(QUICK))
    assert sorted(item.kind for item in tries) == sorted(QUICK)
    assert [item.problems for item in tries] == [[]] * len(QUICK)
    assert len(table(tries)) == len(QUICK)
    checked = facts['messages checked']
    assert {'odom', '/tf', 'depth/image', 'points/static', '~/status', 'scan'} <= checked.keys()
