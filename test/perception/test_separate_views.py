"""Cameras that go through the network one by one are joined into one window."""

from dataclasses import replace

import numpy as np
import pytest
from engine_cases import LIMIT, SETTINGS, network_of, relative
from engine_cases import frame as case_frame
from fakes import OracleEngine, frame_set, pose_at
from scipy.spatial.transform import Rotation

from page4d_ros.config import PER_VIEW, Config
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.poses import inverse, rotation_angle, transform
from page4d_ros.model.network import StepPlan
from page4d_ros.perception.graphs import stream_graphs
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.rig import Rig
from page4d_ros.perception.separate_views import SeparateViews
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.perception.window_engine import WindowEngine
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 5
NAMES = ('front', 'left', 'right')
MOUNTS = {
    1: transform(Rotation.from_euler('y', -0.6).as_matrix(), (-0.25, 0.05, -0.1)),
    2: transform(Rotation.from_euler('y', 0.6).as_matrix(), (0.25, 0.0, -0.15)),
}
APART = Config().with_values({'cameras': NAMES, 'model.grid': PER_VIEW})


class Stand:
    """A simulated rig, its joined windows, and how far these are off."""

    def __init__(self, **values):
        self.engine = OracleEngine(size=4, seed=3, mounts=MOUNTS, **values)
        self.views = SeparateViews(Rig(APART))
        self.unit = None  # of the main view's chain, per metre
        self.anchor = None

    def beside(self, view, _main):
        T = inverse(MOUNTS[view])
        T[:3, 3] *= self.unit
        return T

    def window(self, index, views=(0, 1, 2), spoil=lambda windows: windows, beside=None):
        frames = frame_set(index * STEP, views)
        self.engine.push(frames, [frame.decode() for frame in frames.frames])
        windows = spoil(self.engine.step_apart(self.anchor))
        self.anchor = frames.keys[-1]
        if self.unit is None:
            self.unit = self.engine_unit(windows[0])
        return self.views.join(windows, beside or self.beside)

    def truth(self, frame):
        return self.engine.pose(frame.stamp_ns / NS_PER_S) @ self.engine.mounts[frame.view]

    def engine_unit(self, window, index=-1):
        """Units of a window per metre, by the depth of a frame."""
        true = self.engine.depth(self.truth(window.frames[index]), window.cameras[index])
        return float(np.median(window.depth[index] / true))

    def errors(self, window):
        """Largest errors of relative poses, in rad and metres, and of depth, of all frames."""
        unit = self.engine_unit(window, window.reference)
        turn = shift = 0.0
        T_first, T_true = window.T_gauge_camera[0], self.truth(window.frames[0])
        for frame, T in zip(window.frames, window.T_gauge_camera, strict=True):
            ours, true = inverse(T_first) @ T, inverse(T_true) @ self.truth(frame)
            turn = max(turn, float(rotation_angle(ours[:3, :3].T @ true[:3, :3])))
            shift = max(shift, float(np.abs(ours[:3, 3] / unit - true[:3, 3]).max()))
        count = len(window.depth)
        units = [self.engine_unit(window, -count + i) for i in range(count)]
        return turn, shift, float(np.abs(np.array(units) / unit - 1).max())


def test_windows_of_three_gauges_are_one_window():
    stand = Stand()
    for index in range(12):
        window = stand.window(index)
        assert [frame.key for frame in window.frames] == [
            (time * STEP, view)
            for time in range(max(0, index - 3), index + 1)
            for view in range(3)
        ]
    turn, shift, depth = stand.errors(window)
    assert turn < 1e-6
    assert shift < 1e-3
    assert depth < 1e-3


def test_before_it_moves_all_cameras_see_equally_far():
    stand = Stand(pose=lambda _: np.eye(4))
    window = stand.window(0)
    middle = [float(np.median(depth)) for depth in window.depth]
    np.testing.assert_allclose(middle, middle[0], rtol=1e-3)
    assert stand.errors(window)[0] < 1e-6


def test_points_say_how_far_a_camera_that_stands_sees():
    stand = Stand(pose=lambda _: np.eye(4))
    for index in range(6):
        window = stand.window(index)
        units = [np.log(stand.engine_unit(window, view - 3)) for view in range(3)]
        stand.views.measure({view: units[0] - unit + 0.1 for view, unit in enumerate(units)})
    assert stand.errors(window)[2] < 1e-3


def test_points_overrule_motion_whose_lever_is_not_known():
    stand = Stand()
    for index in range(12):
        window = stand.window(index, beside=lambda *_: None)
        units = [np.log(stand.engine_unit(window, view - 3)) for view in range(3)]
        stand.views.measure({view: units[0] - unit for view, unit in enumerate(units)})
    assert stand.errors(window)[2] < 1e-3


def test_cameras_may_be_missing_and_come_back():
    stand = Stand()
    present = [(0, 1, 2)] * 6 + [(1, 2), (0, 2), (1, 2), (0, 1), (1,), (2,), (1, 2), (1, 2)]
    for index, views in enumerate(present):
        window = stand.window(index, views)
        assert window.sets[-1].views == views
        assert len(window.depth) >= len(views)
        turn, shift, _ = stand.errors(window)
        assert turn < 1e-4, index
        if index > 2:
            assert shift < 2e-3, index


def test_a_camera_that_comes_when_the_others_have_gone_goes_on_from_there():
    stand = Stand()
    poses = []
    for index, views in enumerate([(0,)] * 6 + [(1,)] * 12):
        stand.window(index, views)
        poses.append(stand.views.placement.T_chain_camera[-1][:3, 3] / stand.unit)
    steps = np.linalg.norm(np.diff(poses, axis=0), axis=1)
    usual = np.linalg.norm(MOUNTS[1][:3, 3]) + 0.25
    assert (steps < usual).all()
    assert steps[8:].min() > 0.01  # it moves


@pytest.mark.parametrize('view', [0, 1])
def test_a_view_that_is_not_finite_leaves_the_others_alone(view):
    stand = Stand()

    def broken(windows):
        bad = np.full_like(windows[view].T_gauge_camera, np.nan)
        return [replace(w, T_gauge_camera=bad) if i == view else w for i, w in enumerate(windows)]

    for index in range(8):
        good = stand.window(index)
    window = stand.window(8, spoil=broken)
    assert window.sets[-1].views == good.sets[-1].views
    assert np.isfinite(window.T_gauge_camera).all()
    finite = [bool(np.isfinite(depth).all()) for depth in window.depth[-3:]]
    assert finite == [each != view for each in range(3)]
    everything = stand.window(
        9, spoil=lambda windows: [
            replace(w, T_gauge_camera=w.T_gauge_camera * np.nan) for w in windows
        ]
    )  # fmt: skip
    assert not np.isfinite(everything.T_gauge_camera).any()
    assert stand.errors(stand.window(10))[0] < 1e-3


def test_the_engine_runs_each_view_as_if_it_were_alone():
    network = network_of(mask=True)
    rig = WindowEngine(network, SETTINGS, 3)
    alone = [WindowEngine(network, SETTINGS, 3) for _ in range(2)]
    for time in range(6):
        frames = tuple(Frame(time, 'camera', lambda: None, view=view) for view in range(2))
        images = [case_frame(10 * time + view)[1][0] for view in range(2)]
        rig.push(FrameSet(time, frames), images)
        for each, frame, image in zip(alone, frames, images, strict=True):
            each.push(FrameSet.of(frame), [image])
        anchor = frames[0].key if time % 2 else None
        ours = rig.step_apart(anchor, gram=True)
        for window, each in zip(ours, alone, strict=True):
            theirs = each.step(gram=True)
            assert window.sets[-1].keys == theirs.sets[-1].keys
            for name in ('T_gauge_camera', 'depth', 'confidence', 'dynamic', 'gram', 'points'):
                assert relative(getattr(window, name), getattr(theirs, name)) <= LIMIT, name
    rig.push(FrameSet(6, frames[1:]), images[1:])  # camera 0 is away
    first, second = rig.step_apart()
    assert [len(first.sets), len(second.sets)] == [2, 3]
    assert [len(first.depth), len(second.depth)] == [1, 1]


def test_graphs_are_those_of_one_camera():
    joint = replace(APART, model=replace(APART.model, grid='joint'))
    alone = replace(joint, cameras=())
    grid = (6, 8)
    assert stream_graphs(APART, grid, gram=True) == stream_graphs(alone, grid, gram=True)
    assert stream_graphs(APART, grid, gram=True) != stream_graphs(joint, grid, gram=True)
    plan = stream_graphs(APART, grid, gram=False)[1].plan
    assert plan == StepPlan(grid, 2)


def rig(estimator='network', seed=None, **values):
    settings = {'mask.source': 'head', 'odometry.estimator': estimator} | values
    perception = Perception(APART.with_values(settings), OracleEngine(seed=seed, mounts=MOUNTS))
    for view, T in perception.engine.mounts.items():
        perception.rig.mount(view, T)
    return perception


@pytest.mark.parametrize(('seed', 'mode', 'off'), [(None, 'fixed', 1e-3), (3, 'none', 1e-2)])
def test_the_perception_follows_a_rig_view_by_view(seed, mode, off):
    """Exactly with a known metre; without it as if the cameras were at one place."""
    perception = rig(seed=seed, **{'scale.mode': mode})
    estimates = [perception.process(frame_set(i * STEP, (0, 1, 2))) for i in range(20)]
    last = estimates[-1]
    assert [view.frame.view for view in last.views] == [0, 1, 2]
    assert perception.rig.between(0, 1) is None  # nobody has predicted it
    ours = inverse(estimates[0].odometry.T_world_camera) @ last.odometry.T_world_camera
    true = inverse(pose_at(0)) @ pose_at(19 * STEP / NS_PER_S)
    unit = np.linalg.norm(ours[:3, 3]) / np.linalg.norm(true[:3, 3])
    assert rotation_angle(ours[:3, :3].T @ true[:3, :3]) < off
    np.testing.assert_allclose(ours[:3, 3] / unit, true[:3, 3], atol=off)
    for view in last.views:
        T = pose_at(last.frame.stamp_ns / NS_PER_S) @ perception.engine.mounts[view.frame.view]
        true_depth = perception.engine.depth(T, view.camera)
        far = np.isfinite(view.depth)
        ratio = float(np.median(view.depth[far] / true_depth[far]))
        assert ratio == pytest.approx(unit, rel=10 * off)


def test_a_scale_from_the_rig_needs_corners():
    with pytest.raises(ConfigError, match=r'odometry\.estimator both'):
        rig(**{'scale.mode': 'rig'})
    perception = rig('both', **{'scale.mode': 'rig'})
    perception.process(frame_set(0, (0, 1, 2)))
    assert 'per_view' in perception.rig.reason
