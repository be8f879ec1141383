"""Fit of the motion classifier: logistic regression on drives with known motion masks."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.optimize import minimize

from page4d_ros.errors import TrainingError
from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.perception.motion_classifier import FEATURES, SOURCES, MotionClassifier
from page4d_ros.perception.pipeline import Perception
from page4d_ros.perception.types import Frame, FrameSet
from page4d_ros.synthetic.render import centred_camera
from page4d_ros.training.window_sampling import rotate_view

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import Config, MaskConfig
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.motion_classifier import Coefficients
    from page4d_ros.training.window_sampling import Shard

ROUNDS = 3  # the carried evidence depends on the coefficients, so the fit is repeated
PER_FRAME = 1000  # pixels drawn from each frame
RIDGE = 1e-4
RATE_HZ = 10
STEPS = 1, 3  # frames from one to the next: robots look at different rates
FOV_X_DEG = 60.0
WIDTH = 320


class SourcePanel(Protocol):
    """Replacement of `Dynamics` that evaluates all sources of evidence."""

    classifier: MotionClassifier
    features: dict[str, NDArray]

    def forget(self) -> None:
        """Clear all state."""


def fit_classifier(
    engine: Engine,
    config: Config,
    shards: Sequence[Shard],
    make_panel: Callable[[MaskConfig, MotionClassifier], SourcePanel],
    *,
    gram: bool = False,
    progress: Callable[[], None] = lambda: None,
) -> MotionClassifier:
    """Fit the coefficients of every source of evidence.

    Args:
        engine: runs the network.
        config: all settings of the perception.
        shards: drives; those without motion masks are skipped.
        make_panel: replacement of `Dynamics` that evaluates all sources, Gram statistics included.
        gram: let the fusion use Gram statistics, which cost time.
        progress: called after each frame; the shards are read ROUNDS times at each of STEPS.

    Raises:
        TrainingError: nothing moves in the shards, or none has motion masks.
    """
    shards = [shard for shard in shards if shard.masked]
    names = {
        source: [n for n in features if n != 'gram' or gram or source == 'gram']
        for source, features in SOURCES.items()
    }
    fitted: dict[str, Coefficients] = {
        source: dict.fromkeys([*features, 'bias'], 0.0) for source, features in SOURCES.items()
    }
    rng = np.random.default_rng(0)
    pixels = 0
    for _ in range(ROUNDS):
        X: dict[str, list[NDArray]] = {source: [] for source in SOURCES}
        y: list[NDArray] = []
        panel = make_panel(config.mask, MotionClassifier(fitted))
        for shard, every in product(shards, STEPS):
            frames = range(0, shard.frames, every)
            stream = _stream(engine, config, panel, shard, frames)
            for index, moving in enumerate(stream):
                progress()
                if (index + 1) * every < min(config.window.size, shard.frames):
                    continue  # on a robot all windows are full
                step = -(-moving.shape[1] // panel.features['fused'].shape[-1])
                seen = moving[::step, ::step].ravel()  # evidence is computed on a coarser grid
                pick = rng.integers(0, seen.size, PER_FRAME)
                y.append(seen[pick])
                for source, features in panel.features.items():
                    X[source].append(features.reshape(len(features), -1)[:, pick].T)
        truth = np.concatenate(y) if y else np.zeros(0, bool)
        if not truth.any():
            raise TrainingError('nothing moves in these shards, or they have no motion masks')
        pixels = len(truth)
        for source, rows in X.items():
            columns = [FEATURES.index(name) for name in names[source]]
            found = logistic(np.concatenate(rows)[:, columns], truth)
            fitted[source] |= dict(zip([*names[source], 'bias'], found, strict=True))
    facts = {
        'weights': engine.name,
        'drives': len(shards),
        'pixels': pixels,
        'moving': float(truth.mean()),
    }
    return MotionClassifier(fitted, facts)


def _stream(
    engine: Engine, config: Config, panel: SourcePanel, shard: Shard, frames: range
) -> Iterator[NDArray[np.bool_]]:
    """Run the perception over frames of a drive; yield true masks (h, w) of the network's size."""
    engine.clear()
    panel.forget()
    perception = Perception(config, engine, panel)
    height = round(WIDTH * shard.camera.height / shard.camera.width)
    K = centred_camera(WIDTH, height, FOV_X_DEG).K
    camera = PinholeCamera.from_matrix(K, WIDTH, height)
    for index, known in zip(frames, shard.read(np.array(frames)), strict=True):
        image, _, moving = rotate_view(known, np.eye(3), K, (WIDTH, height))
        stamp = round((index + 1) * 1e9 / RATE_HZ)
        frame = Frame(stamp, 'camera', lambda image=image: image, camera)
        yield perception.process(FrameSet.of(frame)).transform.nearest(moving)


def logistic(X: NDArray, y: NDArray[np.bool_]) -> list[float]:
    """Fit logistic regression of y (n,) on X (n, k); return k coefficients and the bias."""
    A = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    deviation = A.std(0)
    deviation[deviation == 0] = 1
    A /= deviation
    truth = y.astype(np.float64)

    def loss(w: NDArray) -> tuple[float, NDArray]:
        z = A @ w
        p = 1 / (1 + np.exp(-z))
        value = np.mean(np.logaddexp(0, z) - truth * z) + RIDGE / 2 * (w @ w)
        return value, A.T @ (p - truth) / len(truth) + RIDGE * w

    found = minimize(loss, np.zeros(A.shape[1]), jac=True, method='L-BFGS-B').x / deviation
    return [float(value) for value in found]
