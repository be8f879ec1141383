"""Faults of single images: what they show, and fields that contradict each other."""

import io
import time

import numpy as np
from PIL import Image as Picture
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CompressedImage

from chaos.fault import fault
from chaos.world import NAMESPACE

WINDOW = 0.6  # seconds of images that fill a window
SIZES = (64, 48), (17, 31), (1280, 720), (640, 481)


def _show(world, make, seconds=1.0):
    """Show other pictures for some seconds."""
    camera = world.camera
    world.camera.change(lambda image: camera.image(array=make(camera.picture())), seconds)


def _resized(picture, size):
    return np.asarray(Picture.fromarray(picture).resize(size))


def _spoil(world, alter, count=5):
    """Send some images with a field that `alter` changes, among the good ones."""
    for _ in range(count):
        image = world.camera.image()
        alter(image)
        world.camera.send(image)
        time.sleep(0.1)


@fault()
def black(world, rng):
    """Black images."""
    _show(world, np.zeros_like)


@fault()
def white(world, rng):
    """White images."""
    _show(world, lambda picture: np.full_like(picture, 255))


@fault()
def noise(world, rng):
    """Images of noise."""
    random = np.random.default_rng(rng.randrange(2**32))
    _show(world, lambda picture: random.integers(0, 256, picture.shape, np.uint8))


@fault()
def frozen_picture(world, rng):
    """The same picture again and again, with new stamps."""
    still = world.camera.picture()
    _show(world, lambda _: still)


@fault()
def torn(world, rng):
    """Upper and lower half are of different images, or shifted."""

    def tear(picture):
        cut = rng.randrange(1, len(picture))
        return np.vstack([picture[:cut], np.roll(picture[cut:], rng.randrange(200), axis=1)])

    _show(world, tear)


@fault()
def upside_down(world, rng):
    """Images are turned by 180 degrees, and their colours are exchanged."""
    _show(world, lambda picture: np.ascontiguousarray(picture[::-1, ::-1, ::-1]))


@fault()
def flashes(world, rng):
    """Every second image is overexposed."""
    _show(world, lambda picture: picture if rng.random() < 0.5 else picture // 8 + 224)


@fault()
def another_resolution(world, rng):
    """The images have another size for a while; the calibration does not fit them."""
    size = rng.choice(SIZES)
    _show(world, lambda picture: _resized(picture, size))


@fault()
def resolution_of_each_image(world, rng):
    """Each image has another size."""
    _show(world, lambda picture: _resized(picture, rng.choice(SIZES)), 1.5)


@fault()
def images_of_one_pixel(world, rng):
    """Images of 1x1 and 1x500 pixels."""
    _show(world, lambda picture: picture[: rng.choice((1, 500)), :1].copy())


@fault()
def another_encoding(world, rng):
    """The images are mono8, or bgr8 with the same bytes."""

    def recode(image):
        if rng.random() < 0.5:
            image.encoding = 'bgr8'
            return image
        return world.camera.image(array=world.camera.picture()[..., 0].copy())

    world.camera.change(recode, 1.0)


@fault(counted=True)
def unknown_encoding(world, rng):
    """An encoding that does not exist, is empty, or holds control characters."""
    names = 'no such', '', 'rgb8\n[INFO] all is well', '\x1b]0;title\x07', 'ä' * 5000
    _spoil(world, lambda image: setattr(image, 'encoding', rng.choice(names)))


@fault()
def another_frame_id(world, rng):
    """The frame_id changes, to nothing or to something long."""
    names = '', 'elsewhere', 'x' * 10_000, '/camera', '\x1b[31m\n'
    world.camera.change(lambda image: world.camera.image(frame_id=rng.choice(names)), WINDOW)


@fault(counted=True)
def short_step(world, rng):
    """The step is shorter than a row, or zero."""
    _spoil(world, lambda image: setattr(image, 'step', rng.randrange(image.width * 3)))


@fault(counted=True)
def long_step(world, rng):
    """The step is longer than the data has room for."""
    _spoil(world, lambda image: setattr(image, 'step', rng.choice((2**32 - 1, 2**31, 100_000))))


@fault(counted=True)
def data_cut_off(world, rng):
    """The data ends too early, or there is none."""

    def cut(image):
        image.data = image.data[: rng.choice((0, 1, len(image.data) // 2, len(image.data) - 1))]

    _spoil(world, cut)


@fault()
def data_too_long(world, rng):
    """The data is longer than the image."""
    _spoil(world, lambda image: image.data.extend(bytes(100_000)))


@fault(counted=True)
def huge_sizes(world, rng):
    """Width and height of up to 2^32 - 1 pixels."""

    def grow(image):
        image.width, image.height = rng.choice(
            ((2**32 - 1, 2**32 - 1), (2**31, 1), (65536, 65536), (16385, 16385))
        )
        image.step = min(image.width * 3, 2**32 - 1)

    _spoil(world, grow)


@fault(counted=True)
def no_pixels(world, rng):
    """Width or height is zero."""
    _spoil(world, lambda image: setattr(image, rng.choice(('width', 'height')), 0))


@fault()
def big_endian(world, rng):
    """is_bigendian is set to whatever."""
    _spoil(world, lambda image: setattr(image, 'is_bigendian', rng.randrange(256)))


@fault()
def one_large_image(world, rng):
    """An image of 50 MB among small ones."""
    world.camera.send(world.camera.image(array=np.zeros((4096, 4096, 3), np.uint8)))


# -- compressed images: the node has to subscribe to them, and goes back afterwards ---------------


def _compressed(world, messages, pause=0.1):
    """Send compressed images to a node that was configured for them, and configure it back."""
    _transport(world, 'compressed')
    publisher = world.graph.node.create_publisher(
        CompressedImage, f'{NAMESPACE}/image/compressed', 10
    )
    world.graph.until(lambda: publisher.get_subscription_count() > 0, 20, 'a subscription')
    for data in messages:
        image = world.camera.image()
        publisher.publish(CompressedImage(header=image.header, format='png', data=data))
        time.sleep(pause)
    good = io.BytesIO()
    stamps = []

    def show():
        good.seek(0)
        Picture.fromarray(world.camera.picture()).save(good, 'png')
        image = world.camera.image()
        stamp = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
        world.camera.sent[stamp] = time.monotonic()
        stamps.append(stamp)
        publisher.publish(CompressedImage(header=image.header, format='png', data=good.getvalue()))
        time.sleep(0.1)
        seen = world.watch.status
        last = seen.header.stamp.sec * 10**9 + seen.header.stamp.nanosec
        return last in stamps

    world.graph.until(show, 20, 'an estimate of a good compressed image')
    dropped = world.watch.status.dropped  # since it was configured
    world.graph.node.destroy_publisher(publisher)
    _transport(world, 'raw')
    return None if dropped or not messages else 'no compressed image is counted as dropped'


def _transport(world, name):
    from lifecycle_msgs.msg import Transition

    world.transit(Transition.TRANSITION_DEACTIVATE)
    world.transit(Transition.TRANSITION_CLEANUP)
    (result,) = world.set(input__transport=name)
    assert result.successful, result.reason
    world.activate()


@fault()
def compressed_junk(world, rng):
    """Compressed images of random bytes, of none, and of a PNG that is cut off."""
    whole = io.BytesIO()
    Picture.fromarray(world.camera.picture()).save(whole, 'png')
    png = whole.getvalue()
    flipped = bytearray(png)
    for _ in range(50):
        flipped[rng.randrange(len(flipped))] = rng.randrange(256)
    return _compressed(
        world, [rng.randbytes(1000), b'', png[: len(png) // 2], png[:30], bytes(flipped)]
    )


@fault()
def png_bomb(world, rng):
    """A PNG of 190 kB with 14,000 x 14,000 pixels, as a compressed image."""
    bomb = io.BytesIO()
    Picture.new('1', (14_000, 14_000)).save(bomb, 'png', optimize=False)
    before = world.node.rss_mib()
    wrong = _compressed(world, [bomb.getvalue()] * 3)
    grown = world.node.rss_mib() - before
    return wrong or (f'memory grew by {grown:.0f} MiB' if grown > 600 else None)


# -- bytes that are no message ------------------------------------------------------------------


@fault()
def random_bytes_as_images(world, rng):
    """Random bytes instead of a serialized image."""
    for _ in range(10):
        world.camera.images.publish(b'\0\1\0\0' + rng.randbytes(rng.choice((0, 3, 40, 5000))))
        time.sleep(0.02)


@fault()
def flipped_bytes_in_images(world, rng):
    """A serialized image with bytes that are flipped after its stamp, or cut off."""
    for _ in range(10):
        image = world.camera.image()
        stamp = image.header.stamp
        world.camera.sent[stamp.sec * 10**9 + stamp.nanosec] = time.monotonic()
        data = bytearray(serialize_message(image))
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(12, 60)] = rng.randrange(256)
        world.camera.images.publish(bytes(data[: rng.choice((len(data), 30, 1000))]))
        time.sleep(0.05)
