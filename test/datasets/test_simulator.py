"""A simulated network answers for any sequence: exactly, or with the errors that were chosen."""

import numpy as np
import pytest
from data_folders import DATA
from fakes import CAMERA, picture, pose_at, room_depth

from page4d_ros.config import Config
from page4d_ros.datasets.registry import open_sequences
from page4d_ros.datasets.sequence import FileSequence
from page4d_ros.datasets.simulator import TRUE_GAUGE, Noise, SequenceWorld, SimulatedEngine
from page4d_ros.errors import BagError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.geometry.poses import inverse
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import FrameKey, FrameSet
from page4d_ros.truth import GroundTruthFrame
from page4d_ros.units import NS_PER_S

STEP = NS_PER_S // 10
COUNT = 40


def known(index):
    T = pose_at(index / 10)
    depth = room_depth(T, CAMERA).astype(np.float32)
    depth[:12] = np.nan
    mask = np.zeros(depth.shape, bool)
    mask[16:32, :16] = True  # one patch
    return GroundTruthFrame(index * STEP, picture(index), CAMERA, T, depth, mask)


FRAMES = [known(index) for index in range(COUNT)]


def sequence(frames=FRAMES):
    return FileSequence('known', len(frames), lambda indices: [frames[i] for i in indices])


def engine(frames=FRAMES, size=4, **kwargs):
    world = SequenceWorld(sequence(frames))
    return SimulatedEngine(world, size, resolution=64, patch_size=16, **kwargs)


def windows(simulated, frames=FRAMES):
    out = []
    for frame in frames:
        simulated.push(FrameSet.of(frame.frame), [frame.rgb])
        out.append(simulated.step())
    return out


def relative(window):
    return inverse(window.T_gauge_camera[-2]) @ window.T_gauge_camera[-1]


def test_exact_windows_tell_the_truth_up_to_their_gauge():
    exact, simulated = windows(engine(gauge=TRUE_GAUGE)), engine()
    scales = []
    for index, true in enumerate(exact):
        frame = FRAMES[index]
        simulated.push(FrameSet.of(frame.frame), [frame.rgb])
        window = simulated.step()
        np.testing.assert_array_equal(true.T_gauge_camera[-1], frame.T_world_camera)
        np.testing.assert_array_equal(true.depth[-1, 12:], frame.depth[12:])
        np.testing.assert_allclose(window.depth, true.depth * simulated.unit, rtol=1e-6)
        scales.append(simulated.unit)
        if index:
            T = relative(window)
            T[:3, 3] /= simulated.unit
            np.testing.assert_allclose(T, relative(true), atol=1e-9)
    assert np.std(np.log(scales)) > 0.3


def test_unknown_depth_has_no_confidence_and_masks_become_patches():
    window = windows(engine(gauge=TRUE_GAUGE))[-1]
    assert np.isfinite(window.depth).all()
    assert (window.confidence[-1, :12] == 0).all()
    assert (window.confidence[-1, 12:] > 0.5).all()
    assert [tuple(at) for at in np.argwhere(window.dynamic[-1] > 0.5)] == [(1, 0)]
    unmasked = [frame._replace(mask=None) for frame in FRAMES]
    assert windows(engine(unmasked), unmasked)[-1].dynamic is None


def test_depth_reaches_back_to_the_last_step_and_to_the_anchor():
    simulated = engine()
    for frame in FRAMES[:3]:
        simulated.push(FrameSet.of(frame.frame), [frame.rgb])
    assert len(simulated.step().depth) == 3
    simulated.push(FrameSet.of(FRAMES[3].frame), [FRAMES[3].rgb])
    assert len(simulated.step(FrameKey(STEP, 0)).depth) == 3
    assert len(simulated.step().depth) == 1
    simulated.push(FrameSet.of(FRAMES[4].frame), [FRAMES[4].rgb], keep_first=True)
    assert [f.stamp_ns // STEP for f in simulated.step().frames] == [0, 2, 3, 4]


def test_a_seed_stands_for_its_errors():
    noise = Noise(position=0.01, rotation=0.01, depth=0.1, scale=0.1)
    first, again, other = (windows(engine(noise=noise, seed=seed)) for seed in (1, 1, 2))
    for a, b, c in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(a.T_gauge_camera, b.T_gauge_camera)
        np.testing.assert_array_equal(a.depth, b.depth)
        assert not np.allclose(a.T_gauge_camera, c.T_gauge_camera)


def test_noise_has_the_size_that_was_asked_for():
    noise = Noise(position=0.02, depth=0.1)
    found = windows(engine(noise=noise, gauge=TRUE_GAUGE))
    true = windows(engine(gauge=TRUE_GAUGE))
    shifts = [
        (a.T_gauge_camera - b.T_gauge_camera)[:, :3, 3] for a, b in zip(found, true, strict=True)
    ]
    assert np.std(np.concatenate(shifts)) == pytest.approx(0.02, rel=0.1)
    ratios = [np.log(a.depth / b.depth) for a, b in zip(found, true, strict=True)]
    assert np.std(ratios) == pytest.approx(0.1, rel=0.02)


def test_fooled_windows_follow_something_else():
    found = windows(engine(noise=Noise(fooled=0.5), gauge=TRUE_GAUGE))
    true = windows(engine(gauge=TRUE_GAUGE))
    off = [
        not np.allclose(relative(a), relative(b), atol=1e-6)
        for a, b in zip(found[1:], true[1:], strict=True)
    ]
    assert not any(off[:19])
    assert 0.2 < np.mean(off[19:]) < 0.8


def test_a_whole_sequence_at_once():
    height, width = FRAMES[0].rgb.shape[:2]
    simulated = engine()
    fit = ImageTransform.crop(width, height, simulated.resolution, simulated.patch_size)
    pixels = [image_to_network(f.rgb, fit, 'cpu') for f in FRAMES]
    estimate = simulated.sequence([f.frame for f in FRAMES], fit, pixels)
    assert estimate.window.depth.shape == (COUNT, 48, 64)
    assert estimate.window.T_gauge_camera.shape == (COUNT, 4, 4)


def test_a_sequence_may_be_thinned_and_begun_again():
    simulated = engine(gauge=TRUE_GAUGE)
    for index in (0, 5, 30, 2):
        simulated.clear()
        found = windows(simulated, [FRAMES[index]])[-1]
        np.testing.assert_array_equal(found.T_gauge_camera[-1], pose_at(index / 10))


def test_what_is_not_known_is_named():
    for name, value in (('depth', None), ('camera', None), ('T_world_camera', None)):
        lacking = [frame._replace(**{name: value}) for frame in FRAMES]
        with pytest.raises(BagError, match=f'known: the frame of 0.000 s has no {name[-6:]}|pose'):
            windows(engine(lacking), FRAMES)
    with pytest.raises(BagError, match=r'the frame of 3\.900 s is not in the sequence'):
        windows(engine(FRAMES[:-1]), FRAMES)


def test_the_perception_follows_a_real_sequence_by_it():
    """Real poses and depths with holes, in a new gauge every window: the chain is the truth."""
    (real,) = open_sequences('tum', DATA / 'tum_fr1_rpy')
    config = Config().with_values({'odometry.estimator': 'network', 'window.stride': 1})
    simulated = SimulatedEngine(SequenceWorld(real), 4, seed=3, resolution=112)
    perception = Perception(config, simulated)
    frames = list(real.frames())
    found = [perception.process(FrameSet.of(frame.frame)).odometry for frame in frames]
    assert not any(odometry.lost for odometry in found)
    true = [inverse(frames[0].T_world_camera) @ frame.T_world_camera for frame in frames]
    ours = np.stack([odometry.T_world_camera for odometry in found])
    lengths = [np.linalg.norm(np.stack(T)[:, :3, 3], axis=1).max() for T in (true, ours)]
    ours[:, :3, 3] *= lengths[0] / lengths[1]
    np.testing.assert_allclose(ours, np.stack(true), atol=1e-3)
    assert len({odometry.scale for odometry in found}) == len(found)
