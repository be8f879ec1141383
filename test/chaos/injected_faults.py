"""Failures inside of the node, and of the disk that it and its recorder write to."""

import resource
import shutil
import subprocess
import time
from pathlib import Path

from lifecycle_msgs.msg import Transition

from chaos.fault import fault
from chaos.hooked import ERRORS, FATAL
from chaos.process_faults import PAGE4D
from page4d_ros.perception.build import SMALL_FILE

WORKER = 'decode', 'network', 'odometry', 'dynamics', 'publish', 'report'
TRIPPED = 10.0  # seconds for a stage to be reached
SMALL = 1 << 16  # bytes of a file on a disk that is nearly full


def _inject(world, stage, error, count=1):
    """Let a stage fail; a text if it was not reached."""
    hook = world.node.hook
    hook.write_text(f'{stage} {error} {count}')
    end = time.monotonic() + TRIPPED
    while hook.exists() and time.monotonic() < end:
        time.sleep(0.02)
    left = hook.exists()
    hook.unlink(missing_ok=True)
    return f'stage {stage} was not reached' if left else None


@fault(says='frame dropped', once=True)
def exception_in_the_worker(world, rng):
    """An exception in decoding, network, odometry, dynamics, publishing or reporting."""
    return _inject(world, rng.choice(WORKER), rng.choice(ERRORS))


@fault(says='frame dropped', once=True)
def exceptions_in_the_worker_in_a_row(world, rng):
    """The same stage fails for six frames in a row."""
    return _inject(world, rng.choice(WORKER), rng.choice(ERRORS), 6)


@fault(says='frame dropped', once=True)
def no_exception_in_the_worker(world, rng):
    """SystemExit, KeyboardInterrupt or GeneratorExit in a stage of the worker."""
    return _inject(world, rng.choice(WORKER), rng.choice(FATAL))


@fault(says='frame dropped', once=True)
def no_memory_for_the_network(world, rng):
    """MemoryError, or torch's OutOfMemoryError, in the network."""
    return _inject(world, 'network', rng.choice(('MemoryError', 'OutOfMemoryError')), 2)


@fault(says='error in', once=True)
def exception_in_a_callback(world, rng):
    """The callback of images, or the timer of diagnostics, raises."""
    return _inject(world, rng.choice(('callback', 'second')), rng.choice(ERRORS))


@fault()
def reset_that_fails(world, rng):
    """~/reset, and forgetting the window fails."""
    world.node.hook.write_text('restart RuntimeError 2')
    world.trigger('reset')
    return _inject(world, 'restart', 'RuntimeError')


@fault()
def address_space_that_is_used_up(world, rng):
    """Allocations fail for half a second: the limit of the address space is what is in use."""
    pid = world.node.process.pid
    whole = resource.prlimit(pid, resource.RLIMIT_AS)
    pages = int(Path('/proc', str(pid), 'statm').read_text().split()[0])
    resource.prlimit(pid, resource.RLIMIT_AS, (pages * resource.getpagesize(), whole[1]))
    time.sleep(0.5)
    resource.prlimit(pid, resource.RLIMIT_AS, whole)


@fault()
def disk_full_at_the_node(world, rng):
    """No file may grow: ~/save_trajectory says so and leaves nothing; logs are lost."""
    pid, folder = world.node.process.pid, world.folder / f'full_{time.time_ns()}'
    world.set(path__folder=str(folder))
    whole = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, whole[1]))
    try:
        answer = world.trigger('save_trajectory')
        time.sleep(0.5)
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, whole)
        world.set(path__folder='')
    left = sorted(folder.glob('*')) if folder.exists() else []
    if answer.success or left:
        return f'save_trajectory says {answer.success}, {answer.message!r} and leaves {left}'
    return None if answer.message else 'save_trajectory fails without a reason'


@fault()
def disk_full_at_the_recorder(world, rng):
    """`page4d record` onto a disk that fills: one line, exit code 1, what was written is there."""
    target = world.folder / f'recorded_{time.time_ns()}'
    done = subprocess.run(
        [*PAGE4D, 'record', target, '--node-name', '/chaos/page4d'],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL)),
    )
    shutil.rmtree(target, ignore_errors=True)
    if done.returncode != 1 or 'Traceback' in done.stderr or 'page4d: ' not in done.stderr:
        return f'exit code {done.returncode}: {done.stderr[-500:]}'
    return None


@fault()
def checkpoint_replaced_while_it_is_read(world, rng):
    """The weight file is replaced by junk, by rename, while the node reads it."""
    junk = world.folder / 'other.safetensors'
    junk.write_bytes(rng.randbytes(100_000))
    _configure_while(world, rng, lambda path: f'mv {junk} {path}')


@fault()
def checkpoint_cut_short_while_it_is_read(world, rng):
    """The weight file is cut short in place while the node reads it."""
    size = rng.randrange(SMALL_FILE.stat().st_size)
    _configure_while(world, rng, lambda path: f'truncate -s {size} {path}')


def _configure_while(world, rng, command):
    """Let a shell's command change the weight file while the node is configured."""
    path = world.folder / 'weights.safetensors'
    shutil.copyfile(SMALL_FILE, path)
    world.transit(Transition.TRANSITION_DEACTIVATE)
    world.transit(Transition.TRANSITION_CLEANUP)
    world.set(model__checkpoint=str(path))
    changing = subprocess.Popen(
        ['sh', '-c', f'sleep {rng.uniform(0.0, 0.4):.3f}; {command(path)}']
    )
    try:
        world.transit(Transition.TRANSITION_CONFIGURE)  # either way
    finally:
        changing.wait()
        world.transit(Transition.TRANSITION_CLEANUP)
        world.set(model__checkpoint='page4d-small')
        world.activate()
