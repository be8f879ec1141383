"""Recordings of every format, made of the same messages."""

import numpy as np
from fakes import CAMERA, OracleEngine, picture
from rosbags.convert.converter import migrate_bytes
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from page4d_ros.bags.factory import BagMessages, typestore
from page4d_ros.bags.ground_truth import jpeg
from page4d_ros.bags.reader import open_bag
from page4d_ros.config import Config
from page4d_ros.geometry.poses import transform
from page4d_ros.messages import decode, encode
from page4d_ros.perception.base_frame import FORWARD
from page4d_ros.perception.pipeline import Perception

MAKE = BagMessages()
NOETIC = get_typestore(Stores.ROS1_NOETIC)
TF = 'tf2_msgs/msg/TFMessage'
NOETIC.register(get_types_from_msg('geometry_msgs/TransformStamped[] transforms', TF))
START_NS = 1_600_000_000_999_999_999
STEP_NS = 100_000_000
T_base_camera = transform(FORWARD[:3, :3], (0.2, 0.0, 1.2))
FORMATS = ('rosbag1', 'sqlite3', 'mcap', 'bare mcap', 'bare db3')


def stamps(count=6):
    return [START_NS + i * STEP_NS for i in range(count)]


def head(stamp_ns, frame_id='camera'):
    return encode.header(MAKE, stamp_ns, frame_id)


def image(stamp_ns, frame_id='camera', **size):
    return encode.image(MAKE, head(stamp_ns, frame_id), picture(stamp_ns, **size))


def compressed(stamp_ns):
    return jpeg(MAKE, head(stamp_ns), picture(stamp_ns))


def camera_info(stamp_ns, camera=CAMERA):
    return encode.camera_info(MAKE, head(stamp_ns), camera)


def tf(stamp_ns, parent, child, T):
    item = encode.transform_stamped(MAKE, head(stamp_ns, parent), child, encode.pose(MAKE, T))
    return MAKE(TF, transforms=[item])


def mount(stamp_ns=START_NS):
    """base_link -> camera_link -> camera, in two messages."""
    link = transform(np.eye(3), (0.2, 0.0, 1.2))
    return [
        ('/tf_static', stamp_ns, tf(stamp_ns, 'base_link', 'camera_link', link)),
        ('/tf_static', stamp_ns, tf(stamp_ns, 'camera_link', 'camera', FORWARD)),
    ]


def camera_messages(count=6, *, make=image, topic='/camera/image', **size):
    out = mount()
    for stamp_ns in stamps(count):
        out.append(('/camera/camera_info', stamp_ns, camera_info(stamp_ns)))
        out.append((topic, stamp_ns, make(stamp_ns, **size)))
    return out


def to_ros1(cdr, kind):
    return migrate_bytes(typestore(), NOETIC, kind, kind, {}, cdr, src_is2=True, dst_is2=False)


def write_bag(path, form, messages, compression=None):
    """Write (topic, log time, message) in one of FORMATS; returns what to open."""
    if form == 'rosbag1':
        path = path.with_suffix('.bag')
        writer = Writer1(path)
        if compression:
            writer.set_compression(Writer1.CompressionFormat[compression])
    else:
        plugin = StoragePlugin.SQLITE3 if form in ('sqlite3', 'bare db3') else StoragePlugin.MCAP
        writer = Writer2(path, version=8, storage_plugin=plugin)
    connections = {}
    with writer:
        for topic, log_ns, message in messages:
            kind = message.__msgtype__
            store = NOETIC if form == 'rosbag1' else typestore()
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=store)
            data = typestore().serialize_cdr(message, kind)
            if form == 'rosbag1':
                data = to_ros1(data, kind)
            writer.write(connections[topic], log_ns, data)
    return next(path.glob('*.[md][cb]*')) if form.startswith('bare') else path


def cut(path, fraction):
    """Keep only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def oracle(config=None, **kwargs):
    config = config or Config()  # pictures here do not show the motion
    config = config.with_values({'odometry.estimator': 'network'})
    return Perception(config, OracleEngine(size=config.window.size, **kwargs))


def images_of(path, topic='/camera/image'):
    """Stamps of the images of a recording."""
    with open_bag(path) as bag:
        return [decode.stamp_ns(m.value.header) for m in bag.messages([topic])]
