"""The scene that reports show, and what a browser makes of it."""

import json
from base64 import b64decode

import browser
import numpy as np
import pytest

from page4d_ros.evaluation.report.cloud import VoxelCloud
from page4d_ros.evaluation.report.data_page import judge
from page4d_ros.evaluation.report.pictures import WORST, worst
from page4d_ros.evaluation.report.scene import MOMENTS, MOVING_POINTS, SceneBuilder
from page4d_ros.evaluation.report.view import view

RED, BLUE = (239, 68, 68), (59, 130, 246)


def wall(count, seed=0, size=1.0):
    """Points (n, 6) of a square wall, in the colours of their places."""
    rng = np.random.default_rng(seed)
    across = rng.uniform(0, 1, (count, 2))
    xyz = np.column_stack([across, np.full(count, 0.5)]) * size
    return np.column_stack([xyz, across, np.full(count, 0.25)])


@pytest.mark.parametrize('size', [1e-3, 1.0, 1e4])
def test_a_cloud_is_bounded_and_covers_everything_in_any_unit(size):
    cloud = VoxelCloud(most=400)
    for seed in range(20):
        cloud.add(wall(2000, seed, size))
    points = cloud.points
    assert 100 < len(points) <= 400
    assert np.ptp(points[:, :2], axis=0) == pytest.approx([size, size], rel=0.1)
    assert points[:, 2] == pytest.approx(0.5 * size)
    assert points[:, 3:5] * size == pytest.approx(points[:, :2])  # colours stay at their places


def test_a_cloud_takes_means_and_leaves_out_what_is_not_finite():
    cloud = VoxelCloud()
    cloud.add(np.full((3, 6), np.nan))
    assert cloud.points.shape == (0, 6)
    cloud.add(wall(500))
    before = len(cloud.points)
    far = wall(1)
    far[:, 0] = 1e300
    cloud.add(np.vstack([wall(500), far]))  # the same points again
    assert len(cloud.points) == before


def test_moments_are_few_and_spread_over_any_length():
    builder = SceneBuilder()
    for index in range(1000):
        builder.add_moment(index, np.eye(4), wall(3 * MOVING_POINTS, index))
    stamps = [moment.stamp_ns for moment in builder.moments]
    assert MOMENTS // 2 <= len(stamps) <= MOMENTS
    assert len(set(np.diff(stamps))) == 1
    assert stamps[-1] > 900
    assert all(len(moment.points) <= MOVING_POINTS for moment in builder.moments)


def unpacked(column):
    return np.frombuffer(b64decode(column['bdata']), column['dtype'])


def test_a_figure_holds_what_the_scene_holds():
    builder = SceneBuilder()
    turned = np.diag([-1.0, -1, 1, 1])
    builder.add_static(turned, wall(900))
    builder.add_moment(10**9, np.eye(4), wall(50))
    builder.add_moment(3 * 10**9, turned, wall(60))
    path = np.zeros((4, 3))
    scene = builder.scene(path, None)
    figure = json.loads(view(scene, 'm'))
    parts = {trace['name']: trace for trace in figure['data']}
    assert list(parts) == ['what stands', 'estimate', 'what moves', 'cameras']
    static = np.column_stack([unpacked(parts['what stands'][axis]) for axis in 'xyz'])
    assert static == pytest.approx(scene.static[:, :3], abs=1e-6)
    look = parts['what stands']['marker']
    shown = [look['colorscale'][i][1] for i in unpacked(look['color'])]
    shown = np.array([text[4:-1].split(',') for text in shown], float) / 255
    assert np.abs(shown - scene.static[:, 3:]).mean() < 0.03  # of a palette
    moving = [unpacked(parts['what moves'][axis]) for axis in 'xyz']
    assert moving[0].shape == (len(scene.dynamic),)
    (slider,) = figure['layout']['sliders']
    assert [step['label'] for step in slider['steps']] == ['all', '0.0 s', '2.0 s']
    change, traces = slider['steps'][2]['args']
    assert [figure['data'][i]['name'] for i in traces] == ['what moves', 'cameras']
    assert unpacked(change['x'][0]) == pytest.approx(scene.moments[1].points[:, 0], abs=1e-6)
    assert figure['layout']['scene']['xaxis']['title']['text'] == 'x [m]'


def test_the_worst_frames_are_not_neighbours():
    errors = [(index, 1.0 - abs(index - 50) / 100) for index in range(100)]
    found = worst(errors)
    assert found[0] == (50, 1.0)
    assert len(found) == WORST
    assert min(np.diff(sorted(stamp for stamp, _ in found))) >= 5
    assert worst(errors[:3]) == [errors[2], errors[0]]
    assert worst([]) == []


def mode(ate=0.1, depth=0.1, mask=None):
    errors = {'ate_m': ate, 'rpe_translation_m': ate}
    pose = {'sim3': errors, 'standing_still': {'ate_m': 0.5, 'rpe_translation_m': 0.5}}
    wall = {'per_sequence': {'abs_rel': depth}, 'per_sequence_flat_wall': {'abs_rel': 0.3}}
    return {'pose': pose, 'depth': wall, 'mask': mask}


def test_sequences_are_judged_beside_trivial_answers():
    def judged(*modes, trained=True):
        return judge(list(modes), trained=trained, caution='')

    mask = {'precision': 0.1, 'recall': 0.1, 'moving': 0.2}
    assert judged(mode(), mode()).level == 'good'
    assert judged(mode(), mode(ate=1)).level == 'fair'
    assert judged(mode(), mode(ate=1)).headline == (
        'Partly: depth (2 of 2) beat the trivial answers, pose (1 of 2) did not.'
    )
    assert judged(mode(mask=mask)).headline.endswith('answers, motion mask did not.')
    assert judged(mode(ate=1, depth=1)).level == 'bad'
    assert judged({'pose': None, 'depth': None, 'mask': None}).level == 'plain'
    assert 'untrained' in judged(mode(), trained=False).banner


def near(picture, colour):
    """How many pixels have about this colour."""
    return int((np.abs(picture.astype(int) - colour).max(-1) < 24).sum())


@pytest.mark.skipif(browser.find() is None, reason='no Chromium is installed')
def test_a_browser_shows_the_report_without_complaint(good, tmp_path):
    path, stage = good[1] / 'report.html', '.stage'
    with browser.open_page(path, tmp_path / 'profile') as page:
        for size, scheme in ((browser.DESKTOP, 'light'), (browser.PHONE, 'dark')):
            page.show(size, scheme)
            assert page.run('document.documentElement.scrollWidth') <= size[0]
            page.run(f'document.querySelector({stage!r}).scrollIntoView()')
            page.wait_for(lambda: page.run(f'!!document.querySelector("{stage} canvas")'))
            pictures = []

            def drawn(taken=pictures):  # what moves, and the path
                taken.append(page.picture(stage))
                return near(taken[-1], RED) > 30 and near(taken[-1], BLUE) > 5

            page.wait_for(drawn)
            assert (np.median(pictures[-1]) > 200) == (scheme == 'light')
        assert page.pdf().startswith(b'%PDF')
        assert page.said == []
        asked = [address for address in page.asked if not address.startswith('data:')]
        assert asked == [path.as_uri()]
