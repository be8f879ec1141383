import numpy as np
import pytest
from bags_helpers import (
    FORMATS,
    MAKE,
    START_NS,
    STEP_NS,
    T_base_camera,
    camera_info,
    camera_messages,
    compressed,
    head,
    image,
    mount,
    stamps,
    tf,
    write_bag,
)
from fakes import picture

from page4d_ros.bags.recording import Recording
from page4d_ros.bags.stream import DepthSample, PositionSample, Span
from page4d_ros.bags.writer import BagWriter
from page4d_ros.config import Config
from page4d_ros.errors import BagError, FrameError
from page4d_ros.messages import encode
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.perception.types import Frame


def frames(recording):
    return [item for item in recording.items() if isinstance(item, Frame)]


def open_messages(tmp_path, messages, config=None, form='bare mcap', **options):
    path = write_bag(tmp_path / 'bag', form, messages)
    return Recording(path, config or Config(), **options)


@pytest.mark.parametrize('form', FORMATS)
@pytest.mark.parametrize('make', [image, compressed])
def test_frames_of_every_format_raw_and_compressed(tmp_path, form, make):
    topic = '/camera/image' + ('/compressed' if make is compressed else '')
    messages = camera_messages(make=make, topic=topic)
    with open_messages(tmp_path, messages, form=form) as recording:
        found = frames(recording)
        assert [frame.stamp_ns for frame in found] == stamps()
        assert recording.total == 6
        difference = found[0].decode().astype(int) - picture(START_NS)
        grey = np.abs(difference @ (0.299, 0.587, 0.114)).mean()  # JPEG halves the colours
        assert grey < (10 if make is compressed else 1e-9)
        assert all(frame.camera.fx == 50.0 for frame in found)
        np.testing.assert_allclose(recording.T_base_camera, T_base_camera, atol=1e-12)
        assert recording.take_warnings() == []


def test_several_images_are_listed_and_one_can_be_named(tmp_path):
    messages = camera_messages() + camera_messages(topic='/right/image', width=32, height=24)
    messages.sort(key=lambda m: m[1])
    path = write_bag(tmp_path / 'bag', 'mcap', messages)
    with pytest.raises(BagError) as error:
        Recording(path, Config())
    assert '--image-topic' in str(error.value)
    assert '/camera/image (Image, 64x48 rgb8, 6 messages)' in str(error.value)
    assert '/right/image (Image, 32x24 rgb8, 6 messages)' in str(error.value)
    with Recording(path, Config(), image_topic='right/image') as recording:
        assert frames(recording)[0].decode().shape == (24, 32, 3)
    with pytest.raises(BagError, match='no images on /left/image; there are /camera/image'):
        Recording(path, Config(), image_topic='/left/image')


def test_no_images_names_what_there_is(tmp_path):
    with pytest.raises(BagError, match=r'no images; its topics are /tf_static \(tf2_msgs'):
        open_messages(tmp_path, mount())


def test_depth_and_twins_and_ground_truth_are_not_mistaken_for_the_camera(tmp_path):
    messages = camera_messages()
    for stamp_ns in stamps():
        depth = encode.image(MAKE, head(stamp_ns), np.ones((48, 64), np.float32))
        mask = encode.image(MAKE, head(stamp_ns), np.ones((48, 64), np.uint8))
        messages += [
            ('/camera/depth/image', stamp_ns, depth),
            ('/ground_truth/mask', stamp_ns, mask),
            ('/camera/image/compressed', stamp_ns, compressed(stamp_ns)),
        ]
    messages.sort(key=lambda m: m[1])
    with open_messages(tmp_path, messages) as recording:
        assert recording.image.name == '/camera/image'


def test_a_late_calibration_holds_from_the_first_frame(tmp_path):
    messages = [m for m in camera_messages() if m[0] != '/camera/camera_info']
    messages.append(('/camera/camera_info', stamps()[4], camera_info(stamps()[4])))
    messages.sort(key=lambda m: m[1])
    with open_messages(tmp_path, messages) as recording:
        assert all(frame.camera for frame in frames(recording))
        assert recording.take_warnings() == []


def test_without_calibration_and_mount(tmp_path):
    messages = [m for m in camera_messages() if m[0] == '/camera/image']
    with open_messages(tmp_path, messages) as recording:
        assert recording.T_base_camera is None
        assert all(frame.camera is None for frame in frames(recording))
        assert 'no camera_info' in recording.take_warnings()[0]


def test_slashes_in_frame_names_and_a_mount_on_tf(tmp_path):
    messages = [('/tf', START_NS, tf(START_NS, '/base_link', '/camera', FORWARD))]
    messages += [('/image', ns, image(ns, frame_id='/camera')) for ns in stamps()]
    with open_messages(tmp_path, messages, form='rosbag1') as recording:
        np.testing.assert_allclose(recording.T_base_camera, FORWARD, atol=1e-12)
        assert frames(recording)[0].frame_id == 'camera'


def test_egocentric_needs_no_mount(tmp_path):
    config = Config().with_values({'frames.base': ''})
    with open_messages(tmp_path, camera_messages(), config) as recording:
        assert recording.T_base_camera is None


def test_a_span_counts_from_the_first_message(tmp_path):
    with open_messages(tmp_path, camera_messages(20), span=Span(0.5, 1.0)) as recording:
        assert [frame.stamp_ns for frame in frames(recording)] == stamps(20)[5:15]
        assert recording.total is None


def test_malformed_images_are_items_too(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        for topic, log_ns, message in camera_messages():
            writer.write(topic, log_ns, message)
        broken = image(START_NS + 1)
        broken.step = 3
        writer.write('/camera/image', START_NS + 1, broken)
        kind = 'sensor_msgs/msg/Image'
        writer.write_serialized('/camera/image', kind, START_NS + 2, b'\x00\x01\x00\x00\xff')
    with Recording(tmp_path / 'bag', Config()) as recording:
        errors = [item for item in recording.items() if isinstance(item, FrameError)]
    assert 'step 3' in str(errors[0])
    assert 'deserialised' in str(errors[1])


def odometry(stamp_ns, x):
    T = np.eye(4)
    T[0, 3] = x
    at = encode.pose(MAKE, T)
    return encode.odometry(
        MAKE, head(stamp_ns, 'odom'), 'base_link', at, np.zeros(6), np.ones((2, 6, 6))
    )


def test_sensor_readings_come_before_the_frame_they_surround(tmp_path):
    messages = camera_messages(10)
    for index, stamp_ns in enumerate(range(START_NS, START_NS + 10 * STEP_NS, STEP_NS // 2)):
        depth = encode.image(MAKE, head(stamp_ns), np.full((48, 64), 2.0, np.float32))
        messages.append(('/depth', stamp_ns, depth))
        messages.append(('/wheels', stamp_ns, odometry(stamp_ns, 0.1 * index)))
    messages.sort(key=lambda m: m[1])
    options = {'image_topic': '/camera/image', 'depth_topic': 'depth', 'odom_topic': '/wheels'}
    with open_messages(tmp_path, messages, **options) as recording:
        items = list(recording.items())
    seen = []
    for item in items[:-3]:
        if isinstance(item, PositionSample):
            seen.append(item.stamp_ns)
        elif isinstance(item, Frame) and item.stamp_ns < stamps(10)[-3]:
            assert max(seen) > item.stamp_ns
    assert sum(isinstance(item, Frame) for item in items) == 10
    depths = [item.depth for item in items if isinstance(item, DepthSample)]
    assert len(depths) == 20
    assert np.all(depths[0] == 2.0)
    with pytest.raises(BagError, match='no topic /wheel; there are /camera/camera_info'):
        Recording(tmp_path / 'bag', Config(), image_topic='/camera/image', odom_topic='wheel')
