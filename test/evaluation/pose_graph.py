"""The best trajectory that noisy windows allow: all poses and gauges solved for at once."""

import numpy as np
from scipy.optimize._numdiff import approx_derivative, group_columns
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from scipy.spatial.transform import Rotation

from page4d_ros.geometry.sim3 import align

ITERATIONS = 6
FIXED = 1e4  # how firmly the first pose and unit are held


def optimum(windows, T_first_guess, scales, units, noise):
    """Gauss-Newton over N frames (rotation, position) and their N sliding windows' gauges.

    Args:
        windows: T_gauge_camera (S, 4, 4) of the window that ends with each frame.
        T_first_guess: (N, 4, 4) poses to begin with.
        scales: (N,) units of the chain per unit of each gauge, as depth tells them.
        units: (N,) true units of each gauge per metre: the noise is known in metres.
        noise: standard deviations.

    Returns:
        (N, 4, 4) poses.
    """
    n = len(windows)
    frame = np.concatenate([np.arange(i + 1 - len(w), i + 1) for i, w in enumerate(windows)])
    window = np.repeat(np.arange(n), [len(w) for w in windows])
    seen = np.concatenate(windows)
    R_seen, t_seen = Rotation.from_matrix(seen[:, :3, :3]), seen[:, :3, 3]
    gauges = [
        align(T_first_guess[i + 1 - len(w) : i + 1], w, scales[i]).S_a_b
        for i, w in enumerate(windows)
    ]
    R0 = Rotation.from_matrix(T_first_guess[:, :3, :3])
    G0 = Rotation.from_matrix(np.stack([gauge.R for gauge in gauges]))
    ratio = np.diff(np.log(scales))
    start = np.concatenate(
        [
            np.hstack([np.zeros((n, 3)), T_first_guess[:, :3, 3]]).ravel(),
            np.hstack(
                [np.zeros((n, 3)), np.stack([g.t for g in gauges]), np.log(scales)[:, None]]
            ).ravel(),
        ]
    )
    depth = noise.depth / 50  # the median over a grid of pixels of two frames
    held = np.r_[np.arange(6), 6 * n + 6]

    def residuals(x):
        poses, gauge = x[: 6 * n].reshape(n, 6), x[6 * n :].reshape(n, 7)
        R, G = R0 * Rotation.from_rotvec(poses[:, :3]), G0 * Rotation.from_rotvec(gauge[:, :3])
        turns = (R[frame].inv() * G[window] * R_seen).as_rotvec() / noise.rotation
        there = G[window].inv().apply(poses[frame, 3:] - gauge[window, 3:6])
        there = there / np.exp(gauge[window, 6:])
        shifts = (there - t_seen) / (noise.position * units[window, None])
        lengths = (np.diff(gauge[:, 6]) - ratio) / depth
        fixed = FIXED * (x[held] - start[held])
        return np.concatenate([turns.ravel(), shifts.ravel(), lengths, fixed])

    pattern = _pattern(frame, window, n, held)
    groups = group_columns(pattern)
    x = start
    for _ in range(ITERATIONS):
        now = residuals(x)
        J = approx_derivative(
            residuals, x, method='2-point', f0=now, sparsity=(pattern, groups)
        ).tocsc()
        x = x + spsolve((J.T @ J).tocsc(), -J.T @ now)
    poses = x[: 6 * n].reshape(n, 6)
    out = T_first_guess.copy()
    out[:, :3, :3] = (R0 * Rotation.from_rotvec(poses[:, :3])).as_matrix()
    out[:, :3, 3] = poses[:, 3:]
    return out


def _pattern(frame, window, n, held):
    """Which residual depends on which unknown."""
    k, rows, columns = len(frame), [], []
    for part, (of_pose, of_gauge) in enumerate(((range(3), range(3)), (range(3, 6), range(7)))):
        for axis in range(3):
            row = 3 * k * part + 3 * np.arange(k) + axis
            for unknown in of_pose:
                rows.append(row)
                columns.append(6 * frame + unknown)
            for unknown in of_gauge:
                rows.append(row)
                columns.append(6 * n + 7 * window + unknown)
    for offset in (0, 1):
        rows.append(6 * k + np.arange(n - 1))
        columns.append(6 * n + 7 * (np.arange(n - 1) + offset) + 6)
    rows.append(6 * k + n - 1 + np.arange(len(held)))
    columns.append(held)
    rows, columns = np.concatenate(rows), np.concatenate(columns)
    return coo_matrix((np.ones(len(rows)), (rows, columns)), (rows.max() + 1, 13 * n)).tocsr()
