"""Camera, operator and worker under a scheduler that perturbs timing: nothing old comes out."""

import faulthandler
import random
import threading
from types import SimpleNamespace

import pytest
from fakes import frame_set
from shaken import nap, scheduler

from page4d_ros.config import Config
from page4d_ros.errors import FrameError
from page4d_ros.perception.intake import Restart
from page4d_ros.perception.runner import FrameRunner
from page4d_ros.ros.worker import Worker

STEP = 10**8
PATIENCE = 60.0  # seconds after which threads that wait are a deadlock


class Perception:
    """Knows the first frame since the pose began again, and fails now and then."""

    def __init__(self, rng):
        self.scale = SimpleNamespace(up=None)
        self.first, self.rng, self.config = None, rng, None

    def restart(self, restart):
        nap()
        if self.rng.random() < 0.05:
            raise RuntimeError('in a restart')
        if restart is Restart.POSE:
            self.first = None

    def configure(self, config):
        self.config = config

    def process(self, frames):
        nap()
        choice = self.rng.random()
        if choice < 0.05:
            raise FrameError('torn')
        if choice < 0.1:
            raise choice_of_errors(self.rng)('in inference')
        self.first = self.first or frames.stamp_ns
        odometry = SimpleNamespace(lost=choice > 0.95, T_world_camera=None)
        return SimpleNamespace(
            odometry=odometry, pose_frame='camera', stamp_ns=frames.stamp_ns, seconds={},
            first=self.first,
        )  # fmt: skip


def choice_of_errors(rng):
    return rng.choice((MemoryError, ValueError, SystemExit, KeyboardInterrupt))


class Base:
    """A base frame without geometry."""

    mounted = up = None

    def advance(self, T):
        nap()

    restart = forget_mount = mount = lambda self, *_: None


class Stand:
    """Runner and worker as a session has them, and the checks on what comes out.

    Attributes:
        void_until: results of frames up to this stamp are void.
        quiet: True while nothing may come out.
        wrong: what was wrong.
    """

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.void_until, self.quiet, self.wrong = 0, False, []
        self.published, self.reset_at, self.last, self.operated = 0, 0, 0, 0
        config = Config().with_values({'window.stride': 1, 'window.max_gap': 0.0})
        self.runner = FrameRunner(config, Perception(self.rng), Base(), self)
        self.config, self.worker, self.sent = config, None, 0
        self.paused = False

    # -- of a sink -----------------------------------------------------------------------------

    def begin(self, restart, config):
        nap()

    def find_mount(self, frame_id, stopping):
        nap()

    def publish(self, estimate):
        for moment in ('begins', 'ends'):
            if self.quiet:
                self.wrong.append(f'{estimate.stamp_ns} comes out while stopped or paused')
            if estimate.stamp_ns <= self.void_until:
                self.wrong.append(f'{estimate.stamp_ns} {moment}, void to {self.void_until}')
            nap()
        if estimate.first <= self.reset_at:
            self.wrong.append(f'the pose goes on since {estimate.first}, reset at {self.reset_at}')
        if estimate.stamp_ns <= self.last:
            self.wrong.append(f'{estimate.stamp_ns} after {self.last}')
        self.last, self.published = estimate.stamp_ns, self.published + 1

    def report(self, estimate, counts):
        nap()

    def refused(self, error, counts):
        nap()

    # -- of a session, as its methods do it ----------------------------------------------------

    def start(self):
        self.quiet = False
        self.runner.intake.pause(paused=self.paused)
        self.quiet = self.paused
        self.worker = Worker(self.runner, lambda error, trace: nap())
        self.worker.start()

    def stop(self):
        if not self.worker.stop(PATIENCE):
            faulthandler.dump_traceback()
            raise AssertionError('the worker does not end')
        self.quiet = True
        self.runner.intake.restart(Restart.WINDOW)
        self.void_until = self.sent

    def voided(self, act):
        before = self.sent
        act()
        self.void_until = before

    def reset(self):
        with self.runner.publishing:
            self.runner.intake.restart(Restart.POSE)

    def pause(self, paused):
        with self.runner.publishing:
            self.paused = paused
            self.runner.intake.pause(paused=paused)

    def toggle(self):
        if not self.paused:
            self.voided(lambda: self.pause(True))
            self.quiet = True
        else:
            self.quiet = False
            self.pause(False)

    def operate(self):
        """One act of whoever operates the node."""
        choice = self.rng.randrange(8)
        if choice < 2:
            self.voided(self.reset)
            self.reset_at = self.void_until
        elif choice == 2:
            self.toggle()
        elif choice == 3:
            self.stop()
            self.start()
        elif choice == 4:
            self.voided(lambda: self.runner.intake.restart(Restart.WINDOW) or self.flush())
        elif choice == 5:
            self.runner.configure(self.config.with_values({'mask.threshold': self.rng.random()}))
        elif choice == 6:
            self.runner.refuse(FrameError('malformed'))
        nap()

    def flush(self):
        """A restart without the lock voids what is not yet being published."""
        with self.runner.publishing:
            pass

    def shoot(self, ending):
        """The camera: frames, some of them twice."""
        while not ending.is_set():
            for _ in range(1 + (self.rng.random() < 0.1)):
                self.runner.offer(frame_set(self.sent + STEP))
            self.sent += STEP
            nap()


def run(stand, iterations):
    """Let camera, operator and worker race."""
    ending = threading.Event()
    camera = threading.Thread(target=stand.shoot, args=(ending,), daemon=True)
    stand.start()
    camera.start()
    done = 0
    operator = threading.Thread(target=lambda: operations(stand, iterations), daemon=True)
    operator.start()
    while operator.is_alive():
        operator.join(PATIENCE)
        assert stand.operated > done, 'a deadlock: no operation within a minute'
        done = stand.operated
    ending.set()
    camera.join(PATIENCE)
    assert not camera.is_alive()
    stand.stop()
    return stand


def operations(stand, iterations):
    for stand.operated in range(1, iterations + 1):
        stand.operate()


def check(stand):
    assert stand.wrong == []
    assert stand.published > 0
    counts = stand.runner.counts
    assert counts.received == counts.processed + counts.dropped
    assert counts.processed == stand.published


def test_nothing_old_comes_out_and_nothing_waits_for_ever(monkeypatch):
    with scheduler(monkeypatch):
        check(run(Stand(0), 300))


def test_the_stand_finds_what_it_is_for(monkeypatch):
    deliver = FrameRunner.deliver
    monkeypatch.setattr(FrameRunner, 'deliver', lambda self, estimate, _: deliver(self, estimate))
    with scheduler(monkeypatch):
        wrong = run(Stand(0), 200).wrong
    assert any('void to' in text for text in wrong)


@pytest.mark.long
@pytest.mark.parametrize('seed', range(1, 11))
def test_ten_thousand_races(monkeypatch, seed):
    with scheduler(monkeypatch):
        check(run(Stand(seed), 1000))
