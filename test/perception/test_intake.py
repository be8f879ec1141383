import threading

import pytest
from fakes import frame, frame_set

from page4d_ros.config import Config
from page4d_ros.perception.intake import Intake, Restart
from page4d_ros.perception.types import FrameSet
from page4d_ros.units import NS_PER_S


def intake(**values):
    settings = {'window.stride': 1} | {k.replace('__', '.'): v for k, v in values.items()}
    return Intake(Config().with_values(settings))


def test_the_newest_frame_wins():
    gate = intake()
    for i in range(5):
        assert gate.offer(frame_set(i * NS_PER_S // 10)) is None
    assert gate.take(0).frames.stamp_ns == 4 * NS_PER_S // 10
    assert gate.take(0) is None
    assert gate.dropped == {'stale': 4}
    assert gate.received == 5


def test_stride_takes_every_nth():
    gate = intake(window__stride=3)
    taken = [gate.offer(frame_set(i + 1)) is None for i in range(7)]
    assert taken == [True, False, False, True, False, False, True]


def test_equal_stamps_and_stragglers_are_dropped_without_a_restart():
    gate = intake()
    for stamp in (10, 20, 20, 15, 30):
        gate.offer(frame_set(stamp))
    assert gate.dropped['duplicate'] == 1
    assert gate.dropped['late'] == 1
    assert gate.generation == 0
    assert gate.take(0).frames.stamp_ns == 30


def test_a_little_older_frames_are_late_however_many():
    """Two publishers on one topic, or a burst that came in another order."""
    gate = intake()
    for stamp in (100, 200, 20, 30, 40, 300):
        gate.offer(frame_set(stamp))
    assert gate.generation == 0
    assert gate.dropped == {'late': 3, 'stale': 2}
    assert gate.take(0).frames.stamp_ns == 300


def test_one_frame_of_long_ago_is_late():
    gate = intake()
    for stamp in (100 * NS_PER_S, 0, 101 * NS_PER_S, 5, 102 * NS_PER_S):
        gate.offer(frame_set(stamp))
    assert gate.dropped['late'] == 2
    assert gate.generation == 0


@pytest.mark.parametrize(
    'event',
    [
        lambda gate: gate.restart(Restart.POSE),
        lambda gate: (gate.pause(paused=True), gate.pause(paused=False)),
        lambda gate: gate.time_jumped(),
    ],
    ids=['reset', 'pause', 'clock'],
)
def test_no_stamp_is_taken_twice_whatever_was_reset(event):
    gate = intake()
    assert gate.offer(frame_set(100)) is None
    event(gate)
    assert gate.offer(frame_set(100)) == 'duplicate'
    assert gate.offer(frame_set(101)) is None
    assert gate.offer(frame_set(99)) == 'late'


def test_after_a_jump_of_the_clock_the_next_older_frame_is_of_the_new_time():
    gate = intake()
    gate.offer(frame_set(100))
    gate.time_jumped()
    assert gate.offer(frame_set(50)) is None
    assert gate.generation == 1
    assert gate.offer(frame_set(40)) == 'late'


@pytest.mark.parametrize(('reset', 'restart'), [(False, Restart.WINDOW), (True, Restart.POSE)])
def test_two_frames_of_long_ago_in_order_are_a_jump(reset, restart):
    gate = intake(odometry__reset_on_time_jump=reset)
    gate.offer(frame_set(100 * NS_PER_S))
    before = gate.take(0)
    assert gate.offer(frame_set(1 * NS_PER_S)) == 'late'
    assert gate.offer(frame_set(2 * NS_PER_S)) is None
    taken = gate.take(0)
    assert taken.restart is restart
    assert before.generation != gate.generation == taken.generation


def test_a_gap_clears_the_window():
    gate = intake(window__max_gap=1.0)
    gate.offer(frame_set(0))
    gate.take(0)
    gate.offer(frame_set(NS_PER_S))
    assert gate.take(0).restart is Restart.NONE
    gate.offer(frame_set(3 * NS_PER_S))
    assert gate.take(0).restart is Restart.WINDOW


def test_pause_refuses_and_voids():
    gate = intake()
    gate.offer(frame_set(1))
    gate.pause(paused=True)
    assert gate.take(0) is None
    assert gate.offer(frame_set(2)) == 'paused'
    gate.pause(paused=False)
    assert gate.offer(frame_set(3)) is None
    assert gate.generation == 2


def test_a_stronger_restart_is_not_forgotten():
    gate = intake()
    gate.restart(Restart.POSE)
    gate.restart(Restart.WINDOW)
    gate.offer(frame_set(1))
    assert gate.take(0).restart is Restart.POSE
    gate.offer(frame_set(2))
    assert gate.take(0).restart is Restart.NONE


def test_a_waiting_worker_is_woken():
    gate = intake()
    results = []
    thread = threading.Thread(target=lambda: results.append(gate.take(30)))
    thread.start()
    gate.offer(frame_set(1))
    thread.join(10)
    assert results[0].frames.stamp_ns == 1


def test_equal_stamps_of_two_cameras_are_two_frames():
    gate = intake()
    assert gate.offer(frame_set(10, (0,))) is None
    assert gate.offer(frame_set(10, (1,))) is None
    assert gate.take(0).frames.views == (1,)
    for views in ((0,), (1,), (1, 2)):  # each has a frame that came before
        assert gate.offer(frame_set(10, views)) == 'duplicate'
    assert gate.offer(frame_set(20, (0, 1))) is None
    assert gate.generation == 0
    assert gate.dropped == {'stale': 1, 'duplicate': 3}


def test_the_reference_stamp_of_a_set_orders_it():
    """Cameras may be read out one after the other: frames have stamps of their own."""
    gate = intake(window__max_gap=1.0)
    early, late = frame(8, view=0), frame(12, view=1)
    assert gate.offer(FrameSet(10, (early, late))) is None
    assert gate.offer(FrameSet(20, (frame(11, view=0),))) is None
    assert gate.offer(FrameSet(15, (frame(40, view=0),))) == 'late'
    assert gate.offer(FrameSet(20 + 2 * NS_PER_S, (frame(30, view=0),))) is None
    assert gate.take(0).restart is Restart.WINDOW


def test_the_stride_counts_times_and_not_cameras():
    gate = intake(window__stride=2)
    taken = [
        gate.offer(frame_set(stamp, (view,))) is None for stamp in (1, 2, 3) for view in (0, 1)
    ]
    assert taken == [True, True, False, False, True, True]


def test_what_is_refused_is_counted_as_received():
    gate = intake()
    gate.refuse('malformed')
    assert (gate.received, gate.dropped) == (1, {'malformed': 1})
