"""Images for tests of tracked corners: windows of a texture, and a textured room."""

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.geometry.poses import transform


def textured(width=320, height=240, seed=0):
    """Smooth grains (height + 64, width + 64) of 8 pixels."""
    shape = height // 8 + 8, width // 8 + 8
    grains = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.resize(grains, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)


def view(texture, u, v, width=320, height=240):
    """A window of a texture whose first pixel is at (u, v)."""
    M = np.array([[1.0, 0.0, u], [0.0, 1.0, v]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.repeat(cv2.warpAffine(texture, M, (width, height), flags=flags)[..., None], 3, 2)


CAMERA = PinholeCamera(320, 240, 277.0, 277.0, 159.5, 119.5)
LOW, HIGH = np.array([-4.0, -2.5, -4.0]), np.array([4.0, 2.5, 8.0])  # corners of the room, metres
RATE = 30
BOARD = 0.4  # half a side of a board
PER_METRE = 24  # pixels of the texture
RAYS = CAMERA.unproject(np.ones((CAMERA.height, CAMERA.width)))
TEXTURE = textured(1024, 1024, seed=1)


def room(T_world_camera, board=None):
    """An image (H, W, 3) of a textured box, and its depth (H, W) in metres.

    Args:
        T_world_camera: (4, 4), inside the box.
        board: (x, y, z) of the middle of a square board of 0.8 m that faces the z axis.
    """
    origin, rays = T_world_camera[:3, 3], RAYS @ T_world_camera[:3, :3].T
    with np.errstate(divide='ignore'):
        reach = np.maximum((LOW - origin) / rays, (HIGH - origin) / rays)
    axis = reach.argmin(2)
    depth = reach.min(2)
    X = origin + rays * depth[..., None]
    others = np.array([[1, 2], [0, 2], [0, 1]])[axis]
    u, v = np.moveaxis(np.take_along_axis(X, others, 2), 2, 0) * PER_METRE
    side = np.take_along_axis(X, axis[..., None], 2)[..., 0] > 0
    u = u + 300 + 170 * (2 * axis + side)
    v = v + 300 + 90 * axis
    if board is not None:
        reach = (board[2] - origin[2]) / rays[..., 2]
        x, y = np.moveaxis((origin + rays * reach[..., None])[..., :2] - board[:2], 2, 0)
        hit = (np.abs(x) < BOARD) & (np.abs(y) < BOARD) & (reach > 0) & (reach < depth)
        depth = np.where(hit, reach, depth)
        u, v = np.where(hit, 3 * x * PER_METRE + 100, u), np.where(hit, 3 * y * PER_METRE + 100, v)
    grey = cv2.remap(
        TEXTURE,
        u.astype(np.float32),
        v.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )
    return np.repeat(grey[..., None], 3, 2), depth


def handheld(k):
    """T_world_camera of a camera in the hand, `RATE` times a second."""
    s = k / RATE
    R = Rotation.from_euler('yx', [0.25 * np.sin(1.5 * s), 0.1 * np.sin(2 * s)]).as_matrix()
    return transform(R, (0.8 * np.sin(s), 0.15 * np.sin(2 * s), 0.4 * s))
