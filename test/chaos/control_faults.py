"""Faults of those who operate the node: parameters, services, lifecycle."""

import time

from lifecycle_msgs.msg import Transition
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool, Trigger

from chaos.fault import fault
from chaos.world import NAMESPACE
from page4d_ros.config import Config

LEAVES = Config.leaves()
DYNAMIC = {name: leaf.default for name, leaf in LEAVES.items() if leaf.dynamic}
ABSURD = (
    float('nan'),
    float('inf'),
    -1e300,
    2**63 - 1,
    -1,
    'no such',
    '',
    True,
    ['a', 'b'],
    [1.5],
)
STEPS = (
    Transition.TRANSITION_CONFIGURE,
    Transition.TRANSITION_CLEANUP,
    Transition.TRANSITION_ACTIVATE,
    Transition.TRANSITION_DEACTIVATE,
)


def _set(world, values):
    return world.set(**{name.replace('.', '__'): value for name, value in values.items()})


def _restore(world):
    _set(world, DYNAMIC)


@fault()
def invalid_parameters(world, rng):
    """Every parameter gets a value of another type, out of range or not finite."""
    try:
        results = _set(world, {name: rng.choice(ABSURD) for name in LEAVES})
    finally:
        _restore(world)
    silent = [result for result in results if not result.successful and not result.reason]
    return 'a parameter is refused without a reason' if silent else None


@fault()
def parameters_at_their_limits(world, rng):
    """Every dynamic number is set to its least or greatest value."""
    limits = {
        name: rng.choice((leaf.low, leaf.high))
        for name, leaf in LEAVES.items()
        if leaf.dynamic and leaf.low is not None
    }
    limits.pop('window.min_motion')  # its greatest value takes no frame at all
    limits.pop('input.max_latency')
    try:
        _set(world, limits)
        time.sleep(1.0)
    finally:
        _restore(world)


@fault()
def parameters_change_quickly(world, rng):
    """Dynamic parameters change to valid values, many times."""
    try:
        for _ in range(10):
            _set(
                world,
                {
                    'mask.threshold': rng.uniform(-1, 1),
                    'points.stride': rng.randrange(1, 33),
                    'points.max_points': rng.choice((1, 100, 10**7)),
                    'depth.max_range': rng.choice((0.0, 0.1, 1e4)),
                    'mask.source': rng.choice(('head', 'gram', 'fused')),
                    'dynamics.clusters': rng.random() < 0.5,
                    'odometry.publish_when_lost': rng.random() < 0.5,
                    'frames.publish_tf': rng.random() < 0.5,
                },
            )
            time.sleep(0.1)
    finally:
        _restore(world)


@fault()
def parameters_of_no_type(world, rng):
    """A parameter whose type does not exist, and one without a name."""
    changes = [
        ParameterMessage(name=name, value=ParameterValue(type=kind))
        for name, kind in (('mask.threshold', 99), ('', 3), ('x' * 5000, 1), ('mask.threshold', 0))
    ]
    for change in changes:
        (result,) = world.call(
            SetParameters, 'set_parameters', SetParameters.Request(parameters=[change])
        ).results
        if change.value.type == 99 and result.successful:
            return 'a type that does not exist is accepted'
    return None


def _together(world, kind, name, requests):
    """Call a service many times without waiting, and wait for an answer to each."""
    world.call(kind, name, requests[0])  # it is discovered
    client = world.graph.node.create_client(kind, f'{NAMESPACE}/page4d/{name}')
    assert client.wait_for_service(10.0)
    futures = [client.call_async(request) for request in requests]
    world.graph.until(futures[-1].done, 20, 'the last answer')
    world.graph.node.destroy_client(client)


@fault()
def burst_of_resets(world, rng):
    """~/reset is called 100 times at once."""
    _together(world, Trigger, 'reset', [Trigger.Request()] * 100)


@fault()
def resets_during_inference(world, rng):
    """~/reset is called again and again, at random moments."""
    for _ in range(20):
        world.trigger('reset')
        time.sleep(rng.uniform(0.0, 0.1))


@fault()
def burst_of_pauses(world, rng):
    """~/pause is switched 100 times at once, and off at the end."""
    switches = [SetBool.Request(data=rng.random() < 0.5) for _ in range(100)]
    try:
        _together(world, SetBool, 'pause', switches)
    finally:
        world.pause(paused=False)


@fault()
def pause_and_resume(world, rng):
    """~/pause for a while: nothing may come out, and the state says so."""
    world.pause(paused=True)
    time.sleep(0.5)
    count = world.watch.counts['odom']
    time.sleep(rng.uniform(0.5, 1.5))
    quiet = world.watch.counts['odom'] == count
    world.pause(paused=False)
    return None if quiet else 'there is odometry while paused'


@fault()
def transitions_in_any_order(world, rng):
    """Lifecycle transitions in random order, possible or not, and back to active."""
    for _ in range(12):
        world.transit(rng.choice(STEPS))
    world.activate()


@fault()
def deactivate_and_activate(world, rng):
    """Deactivated and activated again, at once."""
    for _ in range(3):
        world.transit(Transition.TRANSITION_DEACTIVATE)
        world.activate()
        time.sleep(rng.uniform(0.0, 0.3))


@fault()
def configured_anew(world, rng):
    """Deactivate, cleanup, configure, activate."""
    world.transit(Transition.TRANSITION_DEACTIVATE)
    world.transit(Transition.TRANSITION_CLEANUP)
    world.activate()


@fault()
def transitions_that_do_not_exist(world, rng):
    """Numbers of transitions that the lifecycle does not have, or not now."""
    made = [world.transit(number) for number in (0, 1, 42, 99, 255)]
    return 'an impossible transition succeeds' if any(made) else None


@fault()
def checkpoint_that_is_broken(world, rng):
    """Configured with a weight file of junk: refused, and configured with the good one again."""
    world.transit(Transition.TRANSITION_DEACTIVATE)
    world.transit(Transition.TRANSITION_CLEANUP)
    junk = world.folder / 'junk.safetensors'
    junk.write_bytes(rng.choice((b'', b'\xff' * 100, rng.randbytes(5000))))
    world.set(model__checkpoint=str(junk))
    refused = not world.transit(Transition.TRANSITION_CONFIGURE)
    world.set(model__checkpoint='page4d-small')
    world.activate()
    if not refused:
        return 'a weight file of junk is accepted'
    return None if world.watch.said('cannot configure') else 'no log line names the weight file'


@fault()
def trajectory_to_nowhere(world, rng):
    """~/save_trajectory into folders that cannot be, and onto a full device."""
    folders = (
        '~nobody_here/x',
        '/proc/nothing',
        '/dev/full',
        '/dev/null/x',
        'x' * 5000,
        '\n\x1b[31m',
    )
    try:
        for folder in rng.sample(folders, 4):
            world.set(path__folder=folder if '\n' not in folder else f'/proc/{folder}')
            answer = world.trigger('save_trajectory')
            if answer.success or not answer.message:
                return f'path.folder {folder[:40]!r}: {answer.success}, {answer.message!r}'
    finally:
        world.set(path__folder='')
    return None


@fault()
def trajectory_while_it_grows(world, rng):
    """~/save_trajectory again and again while frames flow."""
    world.set(path__folder=str(world.folder / 'trajectories'))
    try:
        for _ in range(10):
            answer = world.trigger('save_trajectory')
            if not answer.success and 'no pose yet' not in answer.message:
                return answer.message
    finally:
        world.set(path__folder='')
    return None


@fault()
def namesake(world, rng):
    """A second node of the same name comes and goes."""
    other = LifecycleNode('page4d', namespace=NAMESPACE, context=world.graph.context)
    time.sleep(1.5)
    other.destroy_node()
