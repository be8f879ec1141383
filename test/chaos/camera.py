"""A camera driver with frames of the sample recording, that can be told to misbehave."""

import contextlib
import math
import threading
import time
from pathlib import Path

from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from page4d_ros.bags.sources import open_source
from page4d_ros.config import Config
from page4d_ros.messages import encode
from page4d_ros.perception.types import Frame
from page4d_ros.ros.compat import RosMessages

MAKE = RosMessages()
SAMPLE = Path(__file__).parents[2] / 'page4d_ros' / 'data' / 'sample_room'
FRAME_ID = 'camera'
RATE = 10.0  # Hz
AGAIN = 60.0  # seconds after which an image of the same stamp is another one


def sample_frames(most=60):
    """Images (H, W, 3) of the sample recording, there and back again, and their camera."""
    source = open_source(SAMPLE, Config())
    frames = [item for item in source.items() if isinstance(item, Frame)][:most]
    images = [frame.decode() for frame in frames]
    source.close()
    return images + images[-2:0:-1], frames[-1].camera


class Camera:
    """Publishes an image and its camera_info at `RATE`, from a thread.

    Attributes:
        shoot: called once per frame with its image and camera_info; publishes them.
        on: False stops the stream.
        sent: stamp in nanoseconds -> when its image was sent, by the steady clock; the first time
            of those within `AGAIN` seconds.
    """

    def __init__(self, node, namespace):
        self._node, self._namespace = node, namespace
        self._images, self.model = sample_frames()
        self._count = 0
        self._ending = threading.Event()
        self.sent = {}
        self.on = True
        self.shoot = self.publish
        self.connect()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def connect(self):
        """Create the publishers."""
        qos = QoSProfile(depth=10)
        self.images = self._node.create_publisher(Image, f'{self._namespace}/image', qos)
        self.infos = self._node.create_publisher(CameraInfo, f'{self._namespace}/camera_info', qos)

    def disconnect(self):
        """Destroy the publishers, as a driver that ends."""
        for publisher in (self.images, self.infos):
            self._node.destroy_publisher(publisher)

    def close(self):
        self._ending.set()
        self._thread.join()

    def _run(self):
        due = time.monotonic()
        while not self._ending.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / RATE, time.monotonic() - 1 / RATE)
            if self.on:
                with contextlib.suppress(Exception):  # its publisher is being replaced
                    self.shoot(self.image(), self.info())

    def picture(self):
        """The next image of the recording."""
        self._count += 1
        return self._images[self._count % len(self._images)]

    def image(self, array=None, stamp_ns=None, frame_id=FRAME_ID):
        """An image message; of the next picture and the present time unless said otherwise."""
        stamp_ns = time.time_ns() if stamp_ns is None else stamp_ns
        array = self.picture() if array is None else array
        return encode.image(MAKE, encode.header(MAKE, stamp_ns, frame_id), array)

    def info(self):
        """The true camera_info."""
        head = encode.header(MAKE, time.time_ns(), FRAME_ID)
        return encode.camera_info(MAKE, head, self.model)

    def publish(self, image, info):
        """Publish a frame as a driver does."""
        self.infos.publish(info)
        self.send(image)

    def send(self, image, publisher=None):
        """Publish an image, and remember when."""
        stamp = image.header.stamp
        stamp_ns, now = stamp.sec * 10**9 + stamp.nanosec, time.monotonic()
        if now - self.sent.get(stamp_ns, -math.inf) > AGAIN:
            self.sent[stamp_ns] = now
        (publisher or self.images).publish(image)

    @contextlib.contextmanager
    def shooting(self, shoot, seconds):
        """Let another function publish the frames for some seconds."""
        self.shoot = shoot
        try:
            yield time.sleep(seconds)
        finally:
            self.shoot = self.publish

    def change(self, alter, seconds):
        """Publish what `alter` makes of each image for some seconds; None for no image."""

        def shoot(image, info):
            changed = alter(image)
            self.infos.publish(info)
            if changed is not None:
                self.send(changed)

        with self.shooting(shoot, seconds):
            pass

    def change_info(self, alter, seconds):
        """Publish what `alter` makes of each camera_info for some seconds; None for none."""

        def shoot(image, info):
            changed = alter(info)
            if changed is not None:
                self.infos.publish(changed)
            self.send(image)

        with self.shooting(shoot, seconds):
            pass
