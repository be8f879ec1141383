"""Faults of camera_info and of tf."""

import time

import numpy as np
from rclpy.serialization import serialize_message
from tf2_msgs.msg import TFMessage

from chaos.camera import FRAME_ID
from chaos.fault import fault
from chaos.world import MOUNT

NAN, INF = float('nan'), float('inf')


def _info(world, alter, seconds=0.8):
    def change(info):
        alter(info)
        return info

    world.camera.change_info(change, seconds)


@fault()
def camera_info_missing(world, rng):
    """No camera_info for a while."""
    world.camera.change_info(lambda _: None, 1.0)


@fault()
def camera_info_uncalibrated(world, rng):
    """camera_info is all zeros, as of a camera that is not calibrated."""
    _info(world, lambda info: setattr(info, 'k', np.zeros(9)))


@fault(says='it is not used', once=True)
def camera_info_not_finite(world, rng):
    """NaN or infinity in K, R, P or D."""

    def spoil(info):
        values = getattr(info, rng.choice('krpd'))
        values[rng.randrange(len(values))] = rng.choice((NAN, INF, -INF))

    _info(world, spoil)


@fault()
def camera_info_absurd(world, rng):
    """Focal length 1e-300, negative or 1e300, a centre at 1e300, an R that is no rotation."""

    def spoil(info):
        field, index = rng.choice((('k', 0), ('k', 4), ('k', 2), ('p', 0), ('p', 5), ('r', 0)))
        getattr(info, field)[index] = rng.choice((1e-300, -5.0, 1e300, 1e6))

    _info(world, spoil)


@fault()
def camera_info_of_another_size(world, rng):
    """camera_info is of another image size."""

    def spoil(info):
        info.width, info.height = rng.choice(((0, 0), (64, 48), (2**32 - 1, 2**32 - 1), (1, 9999)))

    _info(world, spoil)


@fault()
def camera_info_distorted(world, rng):
    """Coefficients of distortion of odd number, size and model."""

    def spoil(info):
        info.d = [rng.choice((0.0, -1e3, 1e300)) for _ in range(rng.choice((0, 1, 5, 100)))]
        info.distortion_model = rng.choice(('', 'no such', 'equidistant', 'x' * 10_000))

    _info(world, spoil)


@fault()
def camera_info_binned(world, rng):
    """Binning and region of interest of absurd size."""

    def spoil(info):
        info.binning_x, info.binning_y = rng.randrange(2**32), rng.randrange(2**32)
        info.roi.width, info.roi.x_offset = rng.randrange(2**32), rng.randrange(2**32)

    _info(world, spoil)


@fault()
def camera_info_of_random_bytes(world, rng):
    """Random or flipped bytes instead of a serialized camera_info."""
    whole = serialize_message(world.camera.info())
    for _ in range(10):
        data = bytearray(whole)
        for _ in range(5):
            data[rng.randrange(12, len(data))] = rng.randrange(256)
        world.camera.infos.publish(rng.choice((bytes(data), whole[:50], b'\0\1\0\0' + bytes(9))))
        time.sleep(0.05)


# -- tf -----------------------------------------------------------------------------------------


def _spoiled(world, rng, parent, child):
    """A transform with a number that cannot be."""
    message = world.transform(parent, child)
    item = message.transforms[0].transform
    part = rng.choice((item.translation, item.rotation))
    setattr(part, rng.choice('xyz'), rng.choice((NAN, INF, 1e308)))
    if part is item.rotation and rng.random() < 0.5:
        part.x = part.y = part.z = 0.0
        part.w = rng.choice((0.0, 1e-200, NAN))
    return message


@fault()
def broken_transforms(world, rng):
    """NaN, infinity or a null quaternion on /tf and /tf_static, between frames of others."""
    for _ in range(10):
        rng.choice((world.tf, world.static)).publish(
            _spoiled(world, rng, 'somebody', f'else_{rng.randrange(5)}')
        )
        time.sleep(0.02)


@fault()
def broken_mount(world, rng):
    """NaN, infinity or a null quaternion between base and camera, and then the true mount."""
    for _ in range(5):
        world.static.publish(_spoiled(world, rng, 'base_link', FRAME_ID))
        time.sleep(0.05)
    world.trigger('reset')
    time.sleep(0.5)
    world.mount()


@fault()
def mount_that_changes(world, rng):
    """The camera moves on the robot, far and suddenly."""
    for _ in range(5):
        moved = MOUNT.copy()
        moved[:3, 3] += [rng.uniform(-1e6, 1e6) for _ in range(3)]
        world.static.publish(world.transform('base_link', FRAME_ID, moved))
        time.sleep(0.1)
    world.mount()


@fault()
def second_parent(world, rng):
    """The camera, and the base, have a second parent for a while."""
    for _ in range(5):
        world.tf.publish(world.transform('elsewhere', FRAME_ID))
        world.tf.publish(world.transform('map', 'base_link'))
        time.sleep(0.05)
    world.trigger('reset')
    time.sleep(0.3)
    world.mount()


@fault()
def loops_in_tf(world, rng):
    """Frames are their own parents, directly and in a ring."""
    for parent, child in (('a', 'a'), ('a', 'b'), ('b', 'a'), ('', ''), (FRAME_ID, 'base_link')):
        world.tf.publish(world.transform(parent, child))
        time.sleep(0.05)
    world.trigger('reset')
    time.sleep(0.3)
    world.mount()


@fault()
def flood_of_tf(world, rng):
    """Thousands of frames, with names of any length."""
    for i in range(100):
        items = [world.transform('map', f'{i}_{j}').transforms[0] for j in range(20)]
        items[0].child_frame_id = 'x' * rng.randrange(10_000)
        world.tf.publish(TFMessage(transforms=items))


@fault()
def random_bytes_on_tf(world, rng):
    """Random bytes, or flipped ones, instead of a serialized TFMessage."""
    whole = serialize_message(world.transform('somebody', 'else'))
    for _ in range(10):
        data = bytearray(whole)
        for _ in range(4):
            data[rng.randrange(4, len(data))] = rng.randrange(256)
        junk = b'\0\1\0\0' + rng.randbytes(rng.choice((0, 5, 40, 400)))
        rng.choice((world.tf, world.static)).publish(rng.choice((bytes(data), junk)))
        time.sleep(0.03)
