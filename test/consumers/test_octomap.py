"""The node's real outputs through OctoMap's tools: the map that comes out is that of the room."""

import shutil

import numpy as np
import octrees
import pytest
from scipy.spatial import cKDTree

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.replay import OFFLINE, replay
from page4d_ros.commands.show import SAMPLE
from page4d_ros.config import Config
from page4d_ros.datasets.bag import read
from page4d_ros.geometry.poses import inverse
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.transforms import TransformBuffer

RESOLUTION, MAX_RANGE = 0.1, 5.0
SETTINGS = {'model.checkpoint': 'page4d-small', 'scale.mode': 'fixed', 'points.rate': 0.0}
STATIC, DYNAMIC = '/points/static', '/points/dynamic'

pytestmark = [
    pytest.mark.consumer,
    pytest.mark.skipif(
        not all(map(shutil.which, octrees.TOOLS)),
        reason='octomap-tools is not installed: apt install octomap-tools',
    ),
]


@pytest.fixture(scope='module')
def recording(tmp_path_factory):
    """What `page4d replay` writes for the sample, which is what the node publishes."""
    out = tmp_path_factory.mktemp('octomap') / 'out'
    config = Config().with_values(OFFLINE | SETTINGS)
    replay(SAMPLE, out, config, topics=[name[1:] for name in (STATIC, DYNAMIC)])
    return out


def scans(recording, *topics):
    """(T_odom_camera, points) of clouds, as octomap_server looks them up."""
    buffer, clouds, poses = TransformBuffer(), [], {}
    with open_bag(recording) as bag:
        for topic, _, message in bag.messages(['/tf', '/tf_static', *topics]):
            if not topic.startswith('/tf'):
                clouds.append(message)
                continue
            buffer.store(message)
            if topic == '/tf':
                poses[stamp_ns(message.transforms[0].header)] = buffer.lookup('odom', 'base_link')
    for cloud in clouds:
        read_as = np.frombuffer(cloud.data, '<f4').reshape(-1, cloud.point_step // 4)
        T_base_camera = buffer.lookup('base_link', cloud.header.frame_id)
        yield poses[stamp_ns(cloud.header)] @ T_base_camera, read_as[:, :3]


def truth(recording):
    """True points (n, 3) in odom of what stands, and of what moves."""
    T_odom_first = next(T for T, _ in scans(recording, STATIC))
    standing, moving, T_odom_world = [], [], None
    for frame in read(SAMPLE).frames():
        if T_odom_world is None:
            T_odom_world = T_odom_first @ inverse(frame.T_world_camera)
        T = T_odom_world @ frame.T_world_camera
        points = frame.camera.unproject(frame.depth)
        near = np.isfinite(frame.depth) & (np.linalg.norm(points, axis=-1) < MAX_RANGE + 0.5)
        for chosen, out in ((near & ~frame.mask, standing), (near & frame.mask, moving)):
            out.append(points[chosen] @ T[:3, :3].T + T[:3, 3])
    return np.concatenate(standing), np.concatenate(moving)


def thinned(points, edge=RESOLUTION / 3):
    """One point of each cube, (m, 3)."""
    return np.unique(np.round(points / edge).astype(np.int32), axis=0) * edge


@pytest.fixture(scope='module')
def known(recording):
    """Trees of true points: of what stands, and of where somebody walked in front of nothing."""
    standing, moving = map(thinned, truth(recording))
    surfaces = cKDTree(standing)
    return surfaces, cKDTree(moving[surfaces.query(moving)[0] > 2 * RESOLUTION])


def mapped(folder, clouds):
    """Centres (n, 3) of the occupied voxels."""
    edges, centres = octrees.build(folder, 'map', clouds, RESOLUTION, MAX_RANGE)
    assert edges.min() == pytest.approx(RESOLUTION)
    return centres


def test_the_octree_is_the_room_without_who_walked_by(recording, known, tmp_path):
    surfaces, trail = known
    centres = mapped(tmp_path, scans(recording, STATIC))
    off = surfaces.query(centres)[0]
    assert len(centres) > 3000
    assert np.median(off) < RESOLUTION
    assert (off < 2 * RESOLUTION).mean() > 0.8
    of_all = mapped(tmp_path, scans(recording, STATIC, DYNAMIC))
    ghosts, with_movers = ((trail.query(c)[0] < RESOLUTION).sum() for c in (centres, of_all))
    assert ghosts < with_movers / 2


def test_an_octree_of_clouds_in_wrong_frames_is_none(recording, known, tmp_path):
    """As if tf were inverted: the comparison above would see it."""
    clouds = [(inverse(T), points) for T, points in scans(recording, STATIC)]
    off = known[0].query(mapped(tmp_path, clouds))[0]
    assert np.median(off) > 10 * RESOLUTION
