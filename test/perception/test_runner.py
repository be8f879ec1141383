"""The host loop, with a sink that keeps what it receives."""

import threading

import numpy as np
import pytest
from fakes import OracleEngine, frame_set

from page4d_ros.config import Config
from page4d_ros.errors import FrameError
from page4d_ros.geometry.poses import transform
from page4d_ros.perception.base_frame import FORWARD, BaseFrame
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.runner import Counts, FrameRunner
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 10
MOUNT = transform(FORWARD[:3, :3], (0.2, 0.0, 1.2))


class Kept:
    """A sink that keeps the order of its calls."""

    def __init__(self):
        self.calls, self.estimates, self.counts, self.mount = [], [], [], None
        self.during = lambda: None

    def begin(self, restart, _config):
        self.calls.append(('begin', restart))

    def find_mount(self, frame_id, stopping):
        self.calls.append(('find_mount', frame_id))
        assert not stopping.is_set()
        self.during()
        return self.mount

    def publish(self, estimate):
        self.calls.append(('publish', estimate.frame.stamp_ns))
        self.estimates.append(estimate)

    def report(self, estimate, counts):
        assert estimate.seconds['publish'] >= 0
        self.calls.append(('report', estimate.frame.stamp_ns))
        self.counts.append(counts)

    def refused(self, error, counts):
        self.calls.append(('refused', str(error)))
        self.counts.append(counts)


def runner_of(process=None, **values):
    values = {'window.stride': 1, 'odometry.estimator': 'network'} | values
    config = Config().with_values(values)
    return FrameRunner(
        config, Perception(config, OracleEngine()), BaseFrame(config.frames), Kept(), process
    )


def show(runner, *stamps):
    for stamp in stamps:
        assert runner.offer(frame_set(stamp)) is None
        assert runner.step()


def broken(stamp):
    def decode():
        raise FrameError('cut off')

    return Frame(stamp, 'camera', decode)


def test_a_frame_goes_through_every_step_once():
    runner = runner_of()
    assert not runner.step()
    show(runner, STEP, 2 * STEP)
    assert [name for name, _ in runner.sink.calls] == 2 * [
        'begin',
        'find_mount',
        'publish',
        'report',
    ]
    assert runner.sink.counts == [Counts(1, 1, 0), Counts(2, 2, 0)]


def test_malformed_frames_are_counted_once_wherever_they_are_found():
    runner = runner_of()
    runner.refuse(FrameError('no encoding'))
    runner.offer(FrameSet.of(broken(STEP)))
    runner.step()
    assert [text for name, text in runner.sink.calls if name == 'refused'] == [
        'no encoding',
        'cut off',
    ]
    assert runner.counts == Counts(received=2, processed=0, dropped=2)
    assert runner.intake.dropped == {'malformed': 2}


def test_a_reset_while_the_result_is_on_its_way_voids_it():
    runner = runner_of()
    runner.sink.during = lambda: runner.intake.restart(Restart.WINDOW)
    show(runner, STEP)
    assert not runner.sink.estimates
    assert runner.intake.dropped == {'void': 1}


def test_nothing_is_published_once_the_host_ends():
    runner = runner_of()
    runner.sink.during = runner.stop
    show(runner, STEP)
    assert not runner.sink.estimates
    assert runner.intake.dropped == {'void': 1}


def test_a_waiting_step_ends_when_the_host_does():
    runner = runner_of()
    waiting = threading.Thread(target=runner.step, args=[60.0])
    waiting.start()
    runner.stop()
    waiting.join(30)
    assert not waiting.is_alive()


def test_a_mount_that_comes_late_makes_no_jump():
    runner = runner_of()
    show(runner, *(i * STEP for i in range(1, 4)))
    before = runner.base_frame.pose(runner.sink.estimates[-1].odometry.T_world_camera)
    runner.sink.mount = MOUNT
    show(runner, 4 * STEP)
    after = runner.base_frame.pose(runner.sink.estimates[-1].odometry.T_world_camera)
    np.testing.assert_allclose(after, before, atol=1e-12)
    assert runner.perception.scale.up == pytest.approx(runner.base_frame.up)
    show(runner, 5 * STEP)
    assert [name for name, _ in runner.sink.calls].count('find_mount') == 4


def test_settings_change_before_the_next_frame():
    runner = runner_of()
    show(runner, STEP)
    changed = runner.config.with_values({'mask.threshold': 0.9})
    runner.configure(changed)
    assert runner.perception.config is not changed
    show(runner, 2 * STEP)
    assert runner.perception.config is changed
    assert runner.perception.dynamics.config.threshold == 0.9


def test_a_reset_begins_at_identity():
    runner = runner_of()
    show(runner, *(i * STEP for i in range(1, 4)))
    runner.intake.restart(Restart.POSE)
    show(runner, 4 * STEP)
    pose = runner.base_frame.pose(runner.sink.estimates[-1].odometry.T_world_camera)
    np.testing.assert_allclose(pose, np.eye(4), atol=1e-9)
    assert runner.sink.calls[-4] == ('begin', Restart.POSE)


def test_a_failure_is_the_hosts_to_report_and_costs_one_frame():
    runner = runner_of()
    working = runner.perception.engine.step
    runner.perception.engine.step = lambda *_args, **_kwargs: 1 / 0
    runner.offer(frame_set(STEP))
    with pytest.raises(ZeroDivisionError):
        runner.step()
    runner.recover()
    runner.perception.engine.step = working
    show(runner, 2 * STEP)
    assert runner.counts == Counts(received=2, processed=1, dropped=1)


def test_frames_that_are_held_back_are_delivered_later():
    held = []
    runner = runner_of(process=held.append)
    show(runner, STEP, 2 * STEP)
    assert not runner.sink.estimates
    for taken in held:
        runner.deliver(runner.perception.process(taken.frames))
    assert runner.counts == Counts(received=2, processed=2, dropped=0)


def test_asking_for_a_pose_changes_nothing():
    """It did: every question moved the base that a late mount keeps in place."""
    base_frame = BaseFrame(Config().frames)
    base_frame.advance(np.eye(4))
    base_frame.pose(transform(np.eye(3), (5.0, 0.0, 0.0)))
    base_frame.mount(MOUNT, np.eye(4))
    np.testing.assert_allclose(base_frame.pose(np.eye(4)), np.eye(4), atol=1e-12)


def test_readings_of_the_scale_may_come_while_they_are_used():
    """The executor feeds what the worker reads and forgets."""
    config = Config().with_values({'scale.mode': 'odometry', 'window.stride': 1})
    scale = Perception(config, OracleEngine()).scale
    ended = threading.Event()

    def feed():
        for i in range(20_000):
            scale.feed_position(i, (i, i, i))
        ended.set()

    feeding = threading.Thread(target=feed)
    feeding.start()
    while not ended.is_set():
        position = scale._position_at(100)
        assert position is None or (position == 100).all()
        scale.reset()
    feeding.join(60)


@pytest.mark.parametrize('where', ['perception', 'sink'])
def test_a_reset_that_fails_on_the_way_is_made_up_for(monkeypatch, where):
    """What ~/reset has promised holds although something else has failed meanwhile."""
    runner = runner_of()
    show(runner, STEP, 2 * STEP)
    runner.intake.restart(Restart.POSE)
    runner.offer(frame_set(3 * STEP))
    owner, name = (
        (runner.perception, 'restart') if where == 'perception' else (runner.sink, 'begin')
    )
    whole = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.step()
    monkeypatch.setattr(owner, name, whole)
    runner.recover()
    show(runner, 4 * STEP)
    assert runner.sink.calls[-4] == ('begin', Restart.POSE)
    pose = runner.sink.estimates[-1].odometry.T_world_camera
    np.testing.assert_allclose(pose, np.eye(4), atol=1e-9)
