"""Motion by dense flow: what depth cannot explain is found, and what it can is not."""

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.flow_motion import COLUMNS, flow_between, grey_view
from page4d_ros.perception.residuals import View

WIDTH, HEIGHT, FOCAL = 112, 84, 100.0
FINE = COLUMNS / WIDTH
K = np.array([[FOCAL, 0, 55.5], [0, FOCAL, 41.5], [0, 0, 1]])
WALL, BOX = 4.0, 2.0
RNG = np.random.default_rng(0)
TEXTURE = cv2.GaussianBlur(RNG.uniform(0, 255, (900, 900)).astype(np.float32), (0, 0), 2)
TEXTURE = ((TEXTURE - TEXTURE.mean()) * 6 + 128).clip(0, 255)
CALLED = 6.0  # deviations, far above what is left of a static scene


def rays(T):
    """Directions (h, w, 3) of the grey image's pixels in the world."""
    v, u = np.mgrid[: round(HEIGHT * FINE), :COLUMNS]
    u, v = (u + 0.5) / FINE - 0.5, (v + 0.5) / FINE - 0.5
    along = np.stack([(u - K[0, 2]) / FOCAL, (v - K[1, 2]) / FOCAL, np.ones_like(u)], -1)
    return along @ T[:3, :3].T


def see(T, box=None):
    """Grey image and box (h, w) of a wall, and before it a box at x, if there is one."""
    out, inside = None, None
    for z, shift in ((WALL, 0.0), (BOX, box)):
        if shift is None:
            continue
        d = rays(T)
        at = T[:3, 3] + d * ((z - T[2, 3]) / d[..., 2])[..., None]
        x, y = at[..., 0] - shift, at[..., 1]
        place = ((x + 3.5 + z) * 90).astype(np.float32), ((y + 4) * 90).astype(np.float32)
        image = cv2.remap(TEXTURE, *place, cv2.INTER_LINEAR)
        if out is None:
            out, inside = image, np.zeros(image.shape, bool)
        else:
            inside = (np.abs(x) < 0.35) & (np.abs(y) < 0.35)
            out = np.where(inside, image, out)
    return out.astype(np.uint8), inside[:: round(FINE), :: round(FINE)]


def at(x=0.0, y=0.0, z=0.0, turn=(0, 0, 0)):
    """Pose T_world_camera; turned by degrees."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_euler('xyz', turn, degrees=True).as_matrix(), (x, y, z)
    return T


def away(T_now, T_before, boxes=(None, None), depth=None):
    """Flow to the frame before, and the box (h, w) of the newer frame."""
    (before, _), (now, box) = see(T_before, boxes[0]), see(T_now, boxes[1])
    depth = np.full((HEIGHT, WIDTH), WALL) if depth is None else depth
    views = (View(T, K, None, depth.astype(np.float32)) for T in (T_now, T_before))
    flow = flow_between(*views, now, before, 1)
    return flow, box


def noise():
    """Depth of a network that knows nothing of the place."""
    blurred = cv2.GaussianBlur(RNG.normal(0, 1, (HEIGHT, WIDTH)), (0, 0), 6)
    return WALL * np.exp(0.5 * blurred / blurred.std())


@pytest.mark.parametrize('camera', [at(0), at(0.06), at(0.04, 0.02, 0.05, (0.5, 1, 0.3))])
def test_a_body_that_moves_is_found_with_depth_that_is_wrong(camera):
    flow, box = away(camera, at(0), (0.0, 0.12), noise())
    moves = flow.away > CALLED
    assert moves[box & flow.known].mean() > 0.8
    beside = ~cv2.dilate(box.astype(np.uint8), np.ones((15, 15))).astype(bool)
    assert moves[beside].mean() < 0.01


@pytest.mark.parametrize('camera', [at(0.1), at(0.03, 0.04, 0.1), at(0, 0, -0.15)])
def test_parallax_of_a_scene_at_rest_is_no_motion_however_wrong_its_depth(camera):
    flow, _ = away(camera, at(0), (0.0, 0.0), noise())
    assert flow.known.mean() > 0.8
    assert (flow.away > CALLED).mean() < 0.01


def test_a_camera_that_only_turns_sees_no_motion():
    flow, _ = away(at(turn=(1, 3, 2)), at(0), (0.0, 0.0), noise())
    assert flow.known.mean() > 0.7
    assert (flow.away > CALLED).mean() < 0.01


def test_a_small_error_of_the_pose_is_no_motion():
    (before, _), (now, box) = see(at(0), 0.0), see(at(0.05, turn=(0, 1, 0)), 0.12)
    depth = np.full((HEIGHT, WIDTH), WALL, np.float32)
    wrong = View(at(0.05, turn=(0.3, 0.7, 0.4)), K, None, depth)
    flow = flow_between(wrong, View(at(0), K, None, depth), now, before, 1)
    moves = flow.away > CALLED
    assert moves[box & flow.known].mean() > 0.8
    assert moves[~box].mean() < 0.1


def test_flow_follows_the_content():
    flow, box = away(at(0), at(0), (0.0, 0.12))
    inner = cv2.erode(box.astype(np.uint8), np.ones((7, 7))).astype(bool)
    columns = np.arange(WIDTH)
    moved = (flow.u - columns)[inner]
    assert np.median(moved) == pytest.approx(-0.12 * FOCAL / BOX, abs=0.3)


def test_a_white_wall_is_not_called_moving():
    white = np.full((round(HEIGHT * FINE), COLUMNS), 200, np.uint8)
    views = (View(T, K, None, np.full((HEIGHT, WIDTH), WALL, np.float32)) for T in (at(0.1), at()))
    assert (flow_between(*views, white, white, 1).away < 1).all()


def test_unknown_depth_is_bridged():
    depth = np.full((HEIGHT, WIDTH), np.nan)
    flow, _ = away(at(0.05), at(0), (0.0, 0.0), depth)
    assert np.isfinite(flow.away).all()


def test_the_grey_image_is_what_the_network_sees():
    image = np.zeros((480, 320, 3), np.uint8)
    image[240:] = 255
    grey = grey_view(image, ImageTransform.crop(320, 480, 112, 14))
    assert grey.shape == (COLUMNS, COLUMNS)
    assert (grey[: COLUMNS // 2 - 1] == 0).all()
    assert (grey[COLUMNS // 2 + 1 :] == 255).all()


def test_fast_motion_is_no_more_evidence_than_motion_that_is_enough():
    flow, box = away(at(0), at(0), (0.0, 0.05))
    fast, its = away(at(0), at(0), (0.0, 0.12))
    inner = [cv2.erode(each.astype(np.uint8), np.ones((9, 9))).astype(bool) for each in (box, its)]
    assert np.median(fast.away[inner[1]]) == pytest.approx(
        np.median(flow.away[inner[0]]), rel=0.01
    )
