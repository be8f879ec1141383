"""Trajectories as TUM and KITTI define them."""

import numpy as np
from fakes import pose_at

from page4d_ros.geometry.poses import from_quaternion, inverse
from page4d_ros.messages.trajectory import SUFFIXES, trajectory_files
from page4d_ros.units import NS_PER_S

POSES = [(1_700_000_000 * NS_PER_S + i * 100_000_001, pose_at(0.1 * i + 1)) for i in range(5)]


def test_tum_kitti_and_times_agree():
    files = {suffix: content.decode() for suffix, content in trajectory_files(POSES).items()}
    assert tuple(files) == SUFFIXES
    tum = [line.split() for line in files['.tum'].splitlines()]
    kitti = np.array([line.split() for line in files['.kitti'].splitlines()], float)
    assert files['.times'].splitlines() == [row[0] for row in tum]
    assert kitti.shape == (5, 12)
    np.testing.assert_allclose(
        kitti[0], np.eye(4)[:3].reshape(-1), atol=1e-12
    )  # of its first camera
    for (_, T), row, twelve in zip(POSES, tum, kitti, strict=True):
        numbers = np.array(row[1:], float)
        np.testing.assert_allclose(from_quaternion(numbers[3:], numbers[:3]), T, atol=1e-8)
        relative = inverse(POSES[0][1]) @ T
        np.testing.assert_allclose(twelve.reshape(3, 4), relative[:3], atol=1e-8)


def test_evo_reads_both(tmp_path):
    from evo.tools import file_interface

    for suffix, content in trajectory_files(POSES).items():
        (tmp_path / f'drive{suffix}').write_bytes(content)
    tum = file_interface.read_tum_trajectory_file(tmp_path / 'drive.tum')
    kitti = file_interface.read_kitti_poses_file(tmp_path / 'drive.kitti')
    np.testing.assert_allclose(tum.path_length, kitti.path_length, rtol=1e-6)
