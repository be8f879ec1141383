"""Moves pixels of one rendered frame into another."""

import cv2
import numpy as np


def camera_motion(a, b):
    """T_b_a of the static scene."""
    return np.linalg.inv(b.T_world_camera) @ a.T_world_camera


def body_motion(a, b, number):
    """T_b_a of the root of a body."""
    moved = b.T_world_bodies[number - 1] @ np.linalg.inv(a.T_world_bodies[number - 1])
    return np.linalg.inv(b.T_world_camera) @ moved @ a.T_world_camera


def world_points(frame):
    """World points (H, W, 3) of all pixels."""
    T = frame.T_world_camera
    return frame.camera.unproject(frame.depth) @ T[:3, :3].T + T[:3, 3]


def relative_depth_error(a, b, T_b_a, pixels):
    """Depth of pixels (H, W) bool of frame a, moved into frame b, against b's depth.

    b is sampled where its inverse depth is locally linear, a plane's property, so that the
    comparison is exact between pixel centres and leaves edges out.
    """
    points = a.camera.unproject(a.depth)[pixels] @ T_b_a[:3, :3].T + T_b_a[:3, 3]
    points = points[points[:, 2] > 0.1]
    uv = b.camera.project(points)
    inside = (uv > 1).all(1) & (uv < (b.camera.width - 2, b.camera.height - 2)).all(1)
    points, uv = points[inside], uv[inside]
    inverse = 1 / b.depth.astype(np.float64)
    curved = np.abs(cv2.Laplacian(inverse, cv2.CV_64F)) * b.depth > 1e-4
    rough = cv2.dilate(curved.astype(np.uint8), np.ones((3, 3)))
    u, v = uv.T
    keep = rough[np.rint(v).astype(int), np.rint(u).astype(int)] == 0
    seen = _bilinear(inverse, u[keep], v[keep])
    return np.abs(points[keep, 2] * seen - 1)


def _bilinear(image, u, v):
    i, j = np.floor(v).astype(int), np.floor(u).astype(int)
    s, t = v - i, u - j
    top = image[i, j] * (1 - t) + image[i, j + 1] * t
    bottom = image[i + 1, j] * (1 - t) + image[i + 1, j + 1] * t
    return top * (1 - s) + bottom * s
