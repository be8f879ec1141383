"""A drive of twenty minutes in parts: as good as in one go, without a step at the seams."""

import numpy as np
import pytest
from bags_helpers import START_NS, camera_info, image, mount, oracle, write_bag
from fakes import pose_at
from fleet_cases import config, job

from page4d_ros.fleet.frames import poses_of, read_trajectory
from page4d_ros.fleet.run import Run, find_tasks
from page4d_ros.fleet.store import MANIFESTS, Store
from page4d_ros.fleet.worker import Worker
from page4d_ros.geometry.sim3 import Sim3
from page4d_ros.perception import build
from page4d_ros.units import NS_PER_S

MINUTES, RATE = 20, 2
NOISE = 0.002  # of the simulated network's positions in m, and of its log depths


def drive(path):
    messages = mount()
    for i in range(60 * MINUTES * RATE):
        stamp_ns = START_NS + i * NS_PER_S // RATE
        messages.append(('/camera/camera_info', stamp_ns, camera_info(stamp_ns)))
        messages.append(('/camera/image', stamp_ns, image(stamp_ns)))
    return write_bag(path, 'mcap', messages)


def annotated(folder, name, settings, **options):
    """Stamps and positions of a run over the drive."""
    each, store = job(folder / name, name, config=settings, **options), Store(str(folder / name))
    found = find_tasks([str(folder / 'in')], each, store)
    worker = Worker(each)

    class Here:
        size, free, busy, waiting = 1, 1, 0, None

        def submit(self, task):
            self.waiting, self.free, self.busy = task, 0, 1

        def wait(self, _seconds):
            self.free, self.busy = 1, 0
            return [worker.do(self.waiting)]

        def close(self):
            pass

    said = []
    assert Run(each, store, Here(), found, said=said.append).all(), said
    (key,) = store.keys(MANIFESTS)
    manifest = store.read(MANIFESTS, key)
    poses = read_trajectory(folder / name / manifest['output'] / 'trajectory.tum')
    return np.array(list(poses)), poses_of(np.array(list(poses.values())))[:, :3, 3], manifest


def error(stamps, positions):
    """Root mean square of the distance to the truth, after a similarity, in metres."""
    truth = np.array([pose_at(stamp / NS_PER_S)[:3, 3] for stamp in stamps])
    truth -= truth[0]
    off = Sim3.fit(truth, positions).apply(positions) - truth
    return float(np.sqrt((off**2).sum(1).mean()))


@pytest.mark.long
def test_a_drive_in_parts_is_the_drive_in_one_go(tmp_path, monkeypatch):
    drive(tmp_path / 'in' / 'drive')
    made = iter(range(100))
    monkeypatch.setattr(
        build, 'build_perception', lambda c, **_: oracle(c, noise=NOISE, seed=next(made))
    )
    settings = config(**{'window.size': 4, 'odometry.estimator': 'network'})
    stamps, whole, _ = annotated(tmp_path, 'whole', settings, part_seconds=0.0, topics=('odom',))
    again, parts, manifest = annotated(
        tmp_path, 'parts', settings, part_seconds=240.0, overlap=20.0, topics=('odom',)
    )
    assert manifest['parts'] == 5
    assert (stamps == again).all()
    length = 0.5 * 60 * MINUTES
    errors = error(stamps, whole), error(stamps, parts)
    steps = np.linalg.norm(np.diff(parts, axis=0), axis=1)
    usual = np.median(steps)
    seams = [np.searchsorted(stamps, START_NS + i * 240 * NS_PER_S) - 1 for i in range(1, 5)]
    print(f'ATE whole {errors[0]:.3f} m, in parts {errors[1]:.3f} m, of {length:.0f} m')
    print(f'steps at seams over the usual one: {np.round(steps[seams] / usual, 3)}')
    assert errors[1] < 1.5 * errors[0] + 0.001 * length
    assert (np.abs(steps[seams] / usual - 1) < 0.5).all()
