"""Faults of stamps: equal, backward, in the future, out of range; and of /clock."""

import time

from rosgraph_msgs.msg import Clock

from chaos.fault import fault
from page4d_ros.units import NS_PER_S

YEAR = 365 * 24 * 3600 * NS_PER_S


def _restamp(world, stamp_of, seconds=1.0):
    """Give images other stamps for some seconds."""
    camera = world.camera
    world.camera.change(lambda _: camera.image(stamp_ns=stamp_of(time.time_ns())), seconds)


@fault(counted=True)
def equal_stamps(world, rng):
    """All images of a second have the same stamp."""
    now = time.time_ns()
    _restamp(world, lambda _: now)


@fault(counted=True)
def duplicates(world, rng):
    """Every image comes twice or three times."""

    def shoot(image, info):
        world.camera.infos.publish(info)
        for _ in range(rng.choice((2, 3))):
            world.camera.send(image)

    with world.camera.shooting(shoot, 1.5):
        pass


@fault(counted=True)
def duplicates_around_reset(world, rng):
    """Every image comes twice, and ~/reset in between."""

    def shoot(image, info):
        world.camera.send(image)
        time.sleep(0.03)
        world.camera.send(image)

    with world.camera.shooting(shoot, 0.0):
        for _ in range(5):
            world.trigger('reset')
            time.sleep(rng.uniform(0.0, 0.2))


@fault(counted=True)
def backward_by_1_ns(world, rng):
    """An image is 1 ns older than the one before."""
    for _ in range(3):
        image = world.camera.image()
        stamp = image.header.stamp
        world.camera.send(image)
        older = stamp.sec * NS_PER_S + stamp.nanosec - 1
        world.camera.send(world.camera.image(stamp_ns=older))
        time.sleep(0.1)


@fault(counted=True)
def backward_by_1_s(world, rng):
    """Single images are 1 s old."""
    for _ in range(3):
        world.camera.send(world.camera.image(stamp_ns=time.time_ns() - NS_PER_S))
        time.sleep(0.2)


@fault(counted=True)
def one_image_of_last_year(world, rng):
    """A single image is a year old."""
    world.camera.send(world.camera.image(stamp_ns=time.time_ns() - YEAR))


@fault(jumps=True)
def stream_of_last_year(world, rng):
    """The images are a year old for a while."""
    _restamp(world, lambda now: now - YEAR)


@fault(jumps=True)
def one_image_of_next_year(world, rng):
    """A single image is of next year."""
    world.camera.send(world.camera.image(stamp_ns=time.time_ns() + YEAR))


@fault(jumps=True)
def stream_of_next_year(world, rng):
    """The images are of next year for a while."""
    _restamp(world, lambda now: now + YEAR)


@fault(jumps=True)
def stream_ahead_by_10_s(world, rng):
    """The camera's clock is 10 s ahead for a while."""
    _restamp(world, lambda now: now + 10 * NS_PER_S)


@fault(counted=True)
def zero_stamps(world, rng):
    """The stamps are zero for a while, as of a driver that sets none."""
    _restamp(world, lambda _: 0)


@fault(jumps=True)
def stamps_from_zero(world, rng):
    """The stamps begin at zero again, as of a recording."""
    begin = time.time_ns()
    _restamp(world, lambda now: now - begin)


@fault(jumps=True)
def loop_of_a_recording(world, rng):
    """The stamps go back by 3 s again and again."""
    begin = time.time_ns()
    _restamp(world, lambda now: begin - 10 * NS_PER_S + (now - begin) % (NS_PER_S // 2) * 6, 2.0)


@fault(jumps=True)
def stamps_out_of_range(world, rng):
    """Seconds at the ends of int32, nanoseconds at the end of uint32."""
    for _ in range(4):
        image = world.camera.image()
        image.header.stamp.sec = rng.choice((-(2**31), -1, 2**31 - 1, 0))
        image.header.stamp.nanosec = rng.choice((0, 999_999_999, 10**9, 2**32 - 1))
        world.camera.send(image)
        time.sleep(0.15)


@fault(jumps=True)
def random_stamps(world, rng):
    """Every image has a random stamp."""
    _restamp(world, lambda _: rng.randrange(2**31 * NS_PER_S))


@fault()
def clock_while_not_in_use(world, rng):
    """/clock jumps although the node does not use it."""
    _tick(world, [rng.randrange(2**31) for _ in range(10)])


@fault()
def simulated_time(world, rng):
    """use_sim_time is switched on, /clock pauses, loops and lies, and it is switched off."""
    world.set(use_sim_time=True)
    seconds = [100, 101, 101, 50, 51, -5, 2**31 - 1, 0, rng.randrange(2**31)]
    _tick(world, seconds, rng.choice((0, 10**9, 2**32 - 1)))
    world.set(use_sim_time=False)


def _tick(world, seconds, nanosec=0):
    publisher = world.graph.node.create_publisher(Clock, '/clock', 10)
    time.sleep(0.2)
    for sec in seconds:
        clock = Clock()
        clock.clock.sec, clock.clock.nanosec = sec, nanosec
        publisher.publish(clock)
        time.sleep(0.05)
    world.graph.node.destroy_publisher(publisher)
