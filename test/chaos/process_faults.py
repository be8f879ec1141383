"""Faults of the process: stopped, continued, ended, starved; and of the recorder beside it."""

import os
import signal
import subprocess
import sys
import time

from lifecycle_msgs.msg import Transition

from chaos.fault import fault
from chaos.world import abandoned

PAGE4D = [sys.executable, '-m', 'page4d_ros.cli']


def _freeze(world, seconds):
    world.node.send(signal.SIGSTOP)
    time.sleep(seconds)
    world.node.send(signal.SIGCONT)


@fault()
def stopped_for_a_moment(world, rng):
    """SIGSTOP, and SIGCONT after 0.1 to 1 s."""
    for _ in range(3):
        _freeze(world, rng.uniform(0.1, 1.0))
        time.sleep(0.2)


@fault()
def stopped_for_seconds(world, rng):
    """SIGSTOP, and SIGCONT after 5 to 8 s."""
    _freeze(world, rng.uniform(5.5, 8.0))


@fault()
def stopped_for_longer(world, rng):
    """SIGSTOP, and SIGCONT after 21 to 25 s, when DDS has given the node up."""
    _freeze(world, rng.uniform(21.0, 25.0))


@fault()
def harmless_signals(world, rng):
    """Signals that a process gets from terminals and debuggers."""
    for number in (signal.SIGWINCH, signal.SIGCHLD, signal.SIGURG, signal.SIGPIPE):
        world.node.send(number)
        time.sleep(0.05)


@fault()
def starved_processor(world, rng):
    """Eight processes that compute without end, for 3 s."""
    busy = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(8)]
    time.sleep(3.0)
    for process in busy:
        process.kill()
        process.wait()


@fault()
def least_priority(world, rng):
    """The node gets the least priority, and one core."""
    pid, cores = world.node.process.pid, os.sched_getaffinity(0)
    os.sched_setaffinity(pid, {min(cores)})
    time.sleep(1.5)
    os.sched_setaffinity(pid, cores)


def _end(world, numbers, expected):
    """Send signals, and start the node again; says what is wrong with its end."""
    node = world.node
    segments = node.segments()
    for number in numbers:
        node.send(number)
        time.sleep(0.05)
    code = node.wait()
    left = abandoned(segments)
    world.start()
    after = {path for path in left if path.exists()}
    if code != expected:
        return f'the exit code is {code} and not {expected}'
    if expected == 0 and left:
        return f'{len(left)} segments of shared memory are left behind'
    return f'{len(after)} segments are there after the next start' if after else None


@fault()
def interrupted(world, rng):
    """SIGINT, once or thrice, and a new start."""
    return _end(world, [signal.SIGINT] * rng.choice((1, 3)), 0)


@fault()
def terminated(world, rng):
    """SIGTERM, once or after SIGINT, and a new start."""
    return _end(world, rng.choice(([signal.SIGTERM], [signal.SIGINT, signal.SIGTERM])), 0)


@fault()
def killed(world, rng):
    """SIGKILL, and a new start that cleans up what was left in shared memory."""
    return _end(world, [signal.SIGKILL], -signal.SIGKILL)


@fault()
def shut_down_by_lifecycle(world, rng):
    """The transition to finalized, and a new start."""
    world.transit(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    code = world.restart()
    return None if code == 0 else f'the exit code is {code} and not 0'


@fault()
def recorded_to_nowhere(world, rng):
    """`page4d record` into a folder that cannot be: one line and exit code 1."""
    target = rng.choice(('/proc/nothing', '/dev/full/x', '/dev/null/x'))
    done = subprocess.run(
        [*PAGE4D, 'record', target, '--node-name', '/chaos/page4d'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode == 0 or 'Traceback' in done.stderr:
        return f'exit code {done.returncode}: {done.stderr[-300:]}'
    return None
