"""Faults of the stream of images: publishers, losses, bursts."""

import subprocess
import sys
import time

from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image, PointCloud2

from chaos.camera import FRAME_ID
from chaos.fault import fault
from chaos.world import NAMESPACE


@fault()
def publisher_restarts(world, rng):
    """The camera's publishers end and come back."""
    world.camera.on = False
    world.camera.disconnect()
    time.sleep(rng.uniform(0.0, 1.0))
    world.camera.connect()
    world.camera.on = True


@fault()
def publisher_becomes_best_effort(world, rng):
    """The camera comes back with another reliability, and then with the first."""
    camera = world.camera
    reliable = camera.images
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    other = world.graph.node.create_publisher(Image, f'{NAMESPACE}/image', qos)
    camera.images = other
    time.sleep(1.0)
    camera.images = reliable
    world.graph.node.destroy_publisher(other)


@fault(slow=True)
def publisher_is_killed(world, rng):
    """A second camera process is killed in the middle of its stream."""
    source = f"""
import rclpy, time
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('doomed')
publisher = node.create_publisher(Image, '{NAMESPACE}/image', 10)
image = Image(height=48, width=64, step=192, encoding='rgb8', data=bytes(9216))
image.header.frame_id = '{FRAME_ID}'
print('ready', flush=True)
while True:  # stamps of zero: nothing of it is taken
    publisher.publish(image)
    time.sleep(0.01)
"""
    with subprocess.Popen([sys.executable, '-c', source], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(rng.uniform(0.2, 1.0))
        process.kill()


@fault()
def two_publishers(world, rng):
    """A second publisher sends images of the same camera in between."""
    camera = world.camera
    other = world.graph.node.create_publisher(Image, f'{NAMESPACE}/image', 10)
    for _ in range(15):
        camera.send(camera.image(), other)
        time.sleep(rng.uniform(0.0, 0.1))
    world.graph.node.destroy_publisher(other)


@fault(says='images of', once=True)
def two_cameras_on_one_topic(world, rng):
    """A second camera of another name sends on the same topic."""
    camera = world.camera
    for _ in range(10):
        camera.send(camera.image(frame_id='other'))
        time.sleep(rng.uniform(0.05, 0.15))


@fault()
def pause_of_images(world, rng):
    """No image for 0.5 to 3 s."""
    world.camera.on = False
    time.sleep(rng.uniform(0.5, 3.0))
    world.camera.on = True


@fault(says='no image for', slow=True)
def silence(world, rng):
    """No image for 8 s."""
    world.camera.on = False
    time.sleep(8.0)
    world.camera.on = True


def _lose(world, rng, share):
    world.camera.change(lambda image: None if rng.random() < share else image, 2.0)


@fault()
def loss_of_5_percent(world, rng):
    """5 % of the images are lost."""
    _lose(world, rng, 0.05)


@fault()
def loss_of_50_percent(world, rng):
    """Half of the images are lost."""
    _lose(world, rng, 0.5)


@fault()
def loss_of_95_percent(world, rng):
    """95 % of the images are lost."""
    _lose(world, rng, 0.95)


@fault()
def burst(world, rng):
    """60 images at once, with stamps that rise."""
    for _ in range(60):
        world.camera.send(world.camera.image())


@fault(counted=True)
def burst_in_disorder(world, rng):
    """20 images of the last second at once, in random order."""
    now = time.time_ns()
    stamps = [now - i * 50_000_000 for i in range(20)]
    rng.shuffle(stamps)
    for stamp_ns in stamps:
        world.camera.send(world.camera.image(stamp_ns=stamp_ns))


@fault()
def jitter(world, rng):
    """Images come up to 0.3 s late and irregularly."""

    def late(image):
        time.sleep(rng.uniform(0.0, 0.3))
        return image

    world.camera.change(late, 2.0)


@fault()
def subscriber_that_never_reads(world, rng):
    """Reliable subscribers of depth and points that are never spun."""
    from rclpy.node import Node

    node = Node('sleeper', context=world.graph.context)
    for kind, topic in ((Image, 'depth/image'), (PointCloud2, 'points/static')):
        node.create_subscription(kind, f'{NAMESPACE}/{topic}', print, QoSProfile(depth=1))
    time.sleep(2.0)
    node.destroy_node()


@fault()
def subscribers_come_and_go(world, rng):
    """Outputs are subscribed to and left again, quickly."""
    for _ in range(10):
        subscription = world.graph.node.create_subscription(
            Image, f'{NAMESPACE}/rgb/image', lambda _: None, 1
        )
        time.sleep(rng.uniform(0.0, 0.1))
        world.graph.node.destroy_subscription(subscription)
