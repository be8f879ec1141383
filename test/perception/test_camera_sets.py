"""Frames of several cameras become sets; who is late, slow, silent or wrong holds up nobody."""

import heapq
from dataclasses import dataclass

import numpy as np
import pytest
from fakes import frame

from page4d_ros.config import Config
from page4d_ros.errors import ConfigError
from page4d_ros.perception.camera_sets import MOST_OPEN, CameraSets
from page4d_ros.units import NS_PER_S

NAMES = ['front', 'left', 'right']
MS = NS_PER_S // 1000
BEGIN = 1_700_000_000 * NS_PER_S


@dataclass
class Stream:
    """Frames of one camera; all but the rate in seconds.

    Attributes:
        clock: ahead of the others'; skew: of the exposure.
        delay: on the way; jitter: of it.
        dropped: share of frames that are lost.
        dead: times between which there are none.
    """

    rate: float = 10.0
    clock: float = 0.0
    skew: float = 0.0
    delay: float = 0.005
    jitter: float = 0.0
    dropped: float = 0.0
    dead: tuple[float, float] = (1e9, 1e9)


def arrivals(streams, seconds, seed=0):
    """(arrival in seconds, frame) in order of arrival."""
    rng, out = np.random.default_rng(seed), []
    for view, stream in enumerate(streams):
        for i in range(int(seconds * stream.rate)):
            at = i / stream.rate + stream.skew
            delay = stream.delay + stream.jitter * rng.random()
            if rng.random() >= stream.dropped and not stream.dead[0] <= at < stream.dead[1]:
                stamp_ns = BEGIN + round((at + stream.clock) * NS_PER_S)
                heapq.heappush(out, (at + delay, view, stamp_ns))
    while out:
        arrival, view, stamp_ns = heapq.heappop(out)
        yield arrival, frame(stamp_ns, view=view)


def collected(streams, seconds=6.0, slow=1.0, **rig):
    """The synchroniser, and (time of release, set) of every set, with a timer as the node has.

    `slow` stretches the time of arrival, as a recording does that is played slowly.
    """
    values = {'cameras': NAMES[: len(streams)]} | {f'rig.{k}': v for k, v in rig.items()}
    sets, out = CameraSets(Config().with_values(values)), []
    alarm = None
    for at, each in [*arrivals(streams, seconds), (seconds + 1, None)]:
        now = slow * at
        while alarm is not None and alarm < now:
            out += [(alarm, found) for found in sets.due(alarm)]
            following = sets.next_due(alarm)
            assert following is None or following > alarm
            alarm = following
        if each is not None:
            out += [(now, found) for found in sets.add(each, now)]
            alarm = sets.next_due(now)
    times = [found.stamp_ns for _, found in out]
    assert times == sorted(set(times))
    keys = [key for _, found in out for key in found.keys]
    assert len(keys) == len(set(keys))  # no frame twice
    return sets, out


def latency(out, view=0):
    """Longest time in seconds from acquisition of a view's frame to the release of its set."""
    return max(
        now - (f.stamp_ns - BEGIN) / NS_PER_S
        for now, found in out
        for f in found.frames
        if f.view == view and f.stamp_ns == found.stamp_ns
    )


def after(out, seconds):
    return [found for now, found in out if now > seconds]


def test_cameras_in_step_make_full_sets():
    sets, out = collected([Stream(), Stream(skew=0.008, delay=0.02), Stream(jitter=0.01)])
    assert len(out) == 60
    assert all(found.views == (0, 1, 2) for _, found in out)
    for counts in sets.counts.values():
        assert (counts.received, counts.late, counts.missing) == (60, 0, 0)
    assert latency(out) < 0.035


@pytest.mark.parametrize('slow', [0.2, 5.0])
def test_a_recording_may_be_played_at_any_pace(slow):
    _, out = collected([Stream(), Stream(skew=0.008, delay=0.01), Stream()], slow=slow)
    assert len(out) == 60
    assert all(found.views == (0, 1, 2) for _, found in out)


def test_one_camera_is_a_rig_of_one():
    _, out = collected([Stream()])
    assert [found.views for _, found in out] == [(0,)] * 60
    assert latency(out) < 0.006


def test_dropped_frames_hold_up_nobody():
    streams = [Stream(), Stream(delay=0.01, dropped=0.3), Stream()]
    sets, out = collected(streams, timeout=0.5)
    assert len(out) == 60
    views = [found.views for _, found in out]
    lacking = views.count((0, 2))
    assert 10 < lacking < 26
    assert views.count((0, 1, 2)) == 60 - lacking
    assert lacking - 3 <= sets.counts['left'].missing <= lacking
    late = [now - (f.stamp_ns - BEGIN) / NS_PER_S for now, f in out[5:]]
    assert max(late) < 0.04  # far below the timeout: a camera that is quick is not waited for


def test_the_first_camera_may_drop_frames_too():
    _, out = collected([Stream(dropped=0.3), Stream(), Stream()])
    assert len(out) == 60
    assert {found.views for _, found in out} == {(0, 1, 2), (1, 2)}


def test_a_camera_that_is_200_ms_late_has_results_and_delays_nobody():
    sets, out = collected([Stream(), Stream(delay=0.2), Stream()], timeout=0.1)
    assert len(out) == 60
    late = after(out, 1.0)
    assert all(found.views == (0, 1, 2) for found in late)
    for found in late:
        front, left, right = found.frames
        assert front.stamp_ns == right.stamp_ns == found.stamp_ns
        assert 100 * MS < found.stamp_ns - left.stamp_ns < 350 * MS
    assert latency([item for item in out if item[0] > 1.0]) < 0.01
    assert sets.counts['left'].late > 50


def test_a_patient_rig_waits_for_a_late_camera():
    sets, out = collected([Stream(), Stream(delay=0.2), Stream()], timeout=0.3)
    assert all(len({f.stamp_ns for f in found.frames}) == 1 for found in after(out, 1.0))
    assert sets.counts['left'].late == 0


def test_a_dead_camera_costs_nothing_and_comes_back():
    streams = [Stream(), Stream(dead=(2.0, 4.0)), Stream()]
    sets, out = collected(streams, timeout=0.5)
    assert len(out) == 60
    assert [len(found.frames) for found in after(out, 2.05)][:19] == [2] * 19
    assert all(found.views == (0, 1, 2) for found in after(out, 4.15))
    assert latency(out[2:]) < 0.04
    assert sets.counts['left'].missing in {20, 21}


def test_the_first_camera_may_die_too():
    _, out = collected([Stream(dead=(2.0, 4.0)), Stream(), Stream()])
    assert len(out) == 60
    assert {found.views for found in after(out, 4.15)} == {(0, 1, 2)}
    assert {found.views for found in after(out, 2.05)[:15]} == {(1, 2)}


def test_of_two_cameras_either_may_die():
    for dead in (0, 1):
        streams = [Stream(), Stream()]
        streams[dead].dead = (2.0, 1e9)
        _, out = collected(streams)
        alone = after(out, 3.0)
        assert len(alone) > 28
        assert {found.views for found in alone} == {(1 - dead,)}


def test_a_camera_that_never_comes_is_not_waited_for():
    sets, out = collected([Stream(), Stream(rate=0), Stream()], timeout=0.5)
    assert len(out) == 60
    assert latency([item for item in out if item[0] > 2]) < 0.01
    assert sets.counts['left'].missing == 60


def test_a_slower_camera_joins_where_it_has_a_frame():
    sets, out = collected([Stream(rate=20), Stream(rate=5), Stream(rate=20)])
    assert len(out) == 120
    views = [found.views for _, found in out]
    assert views.count((0, 1, 2)) == 30
    assert sets.counts['left'].missing <= 4  # before its period is known
    assert latency(out[30:]) < 0.03


def test_a_faster_camera_makes_no_sets_of_its_own():
    sets, out = collected([Stream(), Stream(rate=30), Stream()])
    assert len(out) == 60
    assert all(found.views == (0, 1, 2) for _, found in out)
    assert sets.counts['left'].out_of_tolerance > 100


def test_a_clock_that_is_ahead_is_brought_back_by_its_offset():
    streams = [Stream(), Stream(clock=0.05), Stream()]
    sets, out = collected(streams, offsets=[0.0, 0.05, 0.0])
    assert all(found.views == (0, 1, 2) for _, found in out)
    assert out[9][1].frames[1].stamp_ns == out[9][1].stamp_ns + 50 * MS  # its own stamp is kept
    assert sets.counts['left'].out_of_tolerance == 0


@pytest.mark.parametrize('clock', [0.05, -0.05])
def test_without_the_offset_its_frames_join_under_their_own_stamps(clock):
    sets, out = collected([Stream(), Stream(clock=clock), Stream()])
    assert len(out) == 60
    assert sets.counts['left'].out_of_tolerance > 50
    steady = after(out, 1.0)
    assert all(found.views == (0, 1, 2) for found in steady)
    assert {abs(found.stamp_ns - found.frames[1].stamp_ns) for found in steady} <= {
        50 * MS,
        150 * MS,
    }
    assert latency(out[20:]) < 0.04


@pytest.mark.parametrize('clock', [1000.0, -1000.0])
@pytest.mark.parametrize('wrong', [0, 1])
def test_a_clock_that_is_far_off_leads_nobody(clock, wrong):
    streams = [Stream(), Stream(), Stream()]
    streams[wrong].clock = clock
    sets, out = collected(streams)
    others = tuple(view for view in range(3) if view != wrong)
    good = [found for _, found in out if set(others) <= set(found.views)]
    assert len(good) == len(out) >= 58
    assert sets.counts[NAMES[wrong]].out_of_tolerance > 50


def test_a_jump_back_of_all_clocks_begins_anew():
    sets = CameraSets(Config().with_values({'cameras': NAMES[:2]}))
    out = []
    for i in range(20):
        stamp_ns = BEGIN + (i % 10) * 100 * MS - (1000 * NS_PER_S if i >= 10 else 0)
        for view in (0, 1):
            out += sets.add(frame(stamp_ns, view=view), 0.1 * i + 0.001 * view)
    assert [found.views for found in out[:10]] == [(0, 1)] * 10
    assert [found.views for found in out[-9:]] == [(0, 1)] * 9


def test_frames_in_the_wrong_order_and_twice_are_late():
    sets = CameraSets(Config().with_values({'cameras': NAMES[:1]}))
    for stamp_ns, expected in ((100, 1), (200, 1), (200, 0), (150, 0), (300, 1)):
        assert len(sets.add(frame(BEGIN + stamp_ns * MS), stamp_ns / 1000)) == expected
    assert sets.counts['front'].late == 2


def test_memory_is_bounded():
    sets = CameraSets(Config().with_values({'cameras': NAMES, 'rig.timeout': 10.0}))
    out = []
    for i in range(100):  # the others are awaited, and never come
        out += sets.add(frame(BEGIN + i * 100 * MS), 0.001 * i)
    assert len(sets._open) <= MOST_OPEN
    assert len(out) >= 100 - MOST_OPEN


def test_settings_of_a_rig_are_checked():
    for names in (['1'], ['a', 'a'], ['depth'], ['a/b'], ['a__b'], [1]):
        with pytest.raises(ConfigError, match='cameras'):
            Config().with_values({'cameras': names})
    for wrong in (
        {'cameras': NAMES, 'rig.offsets': [0.0]},
        {'cameras': NAMES, 'rig.offsets': ['a', 'b', 'c']},
        {'cameras': NAMES, 'frames.camera': 'optical'},
    ):
        with pytest.raises(ConfigError):
            Config().with_values(wrong)
