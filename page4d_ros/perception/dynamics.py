"""Moving pixels: all evidence about a pixel as one probability, and a mask for consumers."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import cv2
import numpy as np

from page4d_ros.perception.edges import finite, restored, sharpened, upsampled
from page4d_ros.perception.flow_motion import LEAST_ROWS, flow_between, grey_view
from page4d_ros.perception.motion_classifier import FEATURES
from page4d_ros.perception.residuals import (
    View,
    reprojection_residuals,
    sample_nearest,
    thinned,
    thinned_rgb,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from page4d_ros.config import MaskConfig
    from page4d_ros.perception.flow_motion import Flow
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.motion_classifier import MotionClassifier
    from page4d_ros.perception.types import FrameKey, FrameSet, WindowEstimate

DYNAMIC = 255
HEAD, GRAM, DEPTH, COLOUR, SEEN, FLOW, TRACED, CARRIED = range(len(FEATURES))
MOST_COLUMNS = 160  # of the pixels that evidence is gathered at; wider images are thinned
HEAD_RADIUS = 0.0625  # of the width, that scores of patches are smoothed over
FLOW_RADIUS = 0.035  # likewise, flow
COMPARED = 3  # earlier frames that the newest is compared with
MAX_LOGIT = 6.0
LEAST_SCORE = 1e-6  # and its distance from 1
HALF_TRUST = 0.1  # trust in the network at which what rests on it counts half


class _Past(NamedTuple):
    key: FrameKey
    depth: NDArray  # (h, w) in the unit of the odometry's chain
    logit: NDArray  # (h, w)
    called: NDArray  # (h, w) bool


class Evidence(NamedTuple):
    """Evidence about a frame's pixels.

    Attributes:
        features: (len(FEATURES), h, w); 0 is no evidence.
        called: (h, w) bool, True where the same place on an object was called moving in the frame
            before.
    """

    features: NDArray[np.float32]
    called: NDArray[np.bool_]


class Judged:
    """A `Motion` that is known at every n-th pixel, and computed for all when it is first read.

    Args:
        probability: (h', w') above 0.
        called: (h', w') bool, True where a pixel is called moving.
        thin_depth: (h', w').
        depth: (h, w).
        config: cleaning of the mask.
    """

    def __init__(
        self,
        probability: NDArray,
        called: NDArray[np.bool_],
        thin_depth: NDArray,
        depth: NDArray,
        config: MaskConfig,
    ) -> None:
        self._step = -(-depth.shape[1] // probability.shape[1])
        called = without_specks(called, config.min_area / self._step**2)
        self._thin = np.where(called, probability, -probability)  # both in one map
        self._thin_depth, self._depth, self._config = thin_depth, depth, config

    def near(self, at: NDArray[np.intp]) -> NDArray[np.bool_]:
        """True (N,) where anything moves at, or beside, pixels (N, 2), columns and rows."""
        grown = cv2.dilate((self._thin > 0).view(np.uint8), np.ones((3, 3), np.uint8))
        column, row = at.T // self._step
        return grown[row, column] > 0

    @cached_property
    def _signed(self) -> NDArray[np.float32]:
        return restored(self._thin, self._thin_depth, self._depth)

    @cached_property
    def probability(self) -> NDArray[np.float32]:
        """(h, w) that a pixel moves."""
        return np.abs(self._signed)

    @cached_property
    def mask(self) -> NDArray[np.uint8]:
        """(h, w), 0 static, 255 dynamic."""
        return with_margin(self._signed > 0, self._config.dilate)


class MotionEstimator(Protocol):
    """Finds the moving pixels of the newest frames of each window; `Dynamics` is the one we ship.

    Attributes:
        config: source, threshold and cleaning; may be replaced between windows.
        classifier: turns evidence of motion into a probability, fitted to these weights.
    """

    config: MaskConfig
    classifier: MotionClassifier

    @property
    def gram(self) -> bool:
        """True if windows should carry Gram statistics."""

    def forget(self) -> None:
        """Begin anew."""

    def follow(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> None:
        """Take images that flow is computed between; see `Dynamics.follow`."""

    def update(
        self, window: WindowEstimate, scale: float = 1.0, index: int = -1, trust: float = 1.0
    ) -> Motion:
        """Motion of a frame of the newest set; see `Dynamics.update`."""


class Dynamics:
    """Finds the moving pixels of the newest frames of each window.

    It remembers images, depth and decisions for the frames in the window, each by its view. All of
    it runs on the CPU, on so few pixels that copying them there costs less than many small steps
    on a GPU.

    Args:
        config: source, threshold and cleaning.
        classifier: turns evidence of motion into a probability, fitted to these weights.

    Attributes:
        features: (len(FEATURES), h', w') of the last frame that was judged, at every n-th pixel.
    """

    def __init__(self, config: MaskConfig, classifier: MotionClassifier) -> None:
        self.config, self.classifier = config, classifier
        self.features: NDArray | None = None
        self._past: list[_Past] = []
        self._images: dict[FrameKey, NDArray] = {}
        self._greys: dict[FrameKey, NDArray] = {}
        self._followed: dict[FrameKey, NDArray] = {}

    @property
    def gram(self) -> bool:
        """True if the configured source reads Gram statistics."""
        return bool(self.classifier.sources[self.config.source].get('gram'))

    def forget(self) -> None:
        """Begin anew."""
        self._past.clear()
        self._images.clear()
        self._greys.clear()
        self._followed.clear()

    def follow(self, frames: FrameSet, images: Sequence[NDArray[np.uint8]]) -> None:
        """Take the images that flow is computed between, before `update`.

        Args:
            frames: of the newest time.
            images: (H, W, 3) RGB of each, or what `grey_view` made of it.
        """
        self._followed |= zip((frame.key for frame in frames.frames), images, strict=True)

    def update(
        self, window: WindowEstimate, scale: float = 1.0, index: int = -1, trust: float = 1.0
    ) -> Judged:
        """Moving pixels of a frame of the newest set, judged by earlier frames of its view.

        Args:
            window: its depths may be of the newest set alone.
            scale: from the window's unit to one that all windows share.
            index: of the frame, counted from the end, see `WindowEstimate.newest`.
            trust: in the network, 0 to 1, as far as followed corners tell.
        """
        depth = window.depth[index]
        key = window.frames[index].key
        for frame, fit in zip(window.frames, window.transforms, strict=True):
            if frame.key in self._followed:
                image = self._followed.pop(frame.key)
                self._greys[frame.key] = image if image.ndim == 2 else grey_view(image, fit)
        self._followed.clear()
        step = -(-depth.shape[1] // MOST_COLUMNS)
        now = self._view(window, index, thinned(depth, step), step)
        evidence = self._evidence(window, index, now, scale, step, trust)
        self.features = evidence.features
        logit = self._judge(evidence.features)
        probability = 1 / (1 + np.exp(-logit))
        called = threshold(probability, self.config, evidence.called)
        past = _Past(key, now.depth * scale, logit, called)
        inside = {frame.key for frame in window.frames}
        self._past = [p for p in self._past if p.key in inside] + [past]
        self._images = {key: each for key, each in self._images.items() if key in inside}
        self._greys = {key: each for key, each in self._greys.items() if key in inside}
        return Judged(probability, called, now.depth, depth, self.config)

    def _judge(self, features: NDArray) -> NDArray[np.float32]:
        """Log-odds (h, w) of features (len(FEATURES), h, w), by the configured source."""
        coefficients = self.classifier.sources[self.config.source]
        weights = np.array([coefficients.get(name, 0.0) for name in FEATURES], np.float32)
        logit = np.tensordot(weights, features, 1) + np.float32(coefficients['bias'])
        return logit.clip(-MAX_LOGIT, MAX_LOGIT)

    def _evidence(
        self, window: WindowEstimate, index: int, now: View, scale: float, step: int, trust: float
    ) -> Evidence:
        """Evidence of the network, its attention, and depth, colour and flow of earlier frames."""
        shape = now.depth.shape
        features = np.zeros((len(FEATURES), *shape), np.float32)
        called = np.zeros(shape, bool)
        if window.dynamic is not None:
            score = _logit(window.dynamic[index])
            features[HEAD] = sharpened(upsampled(score, shape), now.depth, HEAD_RADIUS)
        if window.gram is not None:
            features[GRAM] = upsampled(window.gram[index], shape)
        depths, past = self._earlier(window, index, scale, step, shape)
        if depths:
            earlier = [
                self._view(window, i, depth, step)._replace(K=now.K) for i, depth in depths.items()
            ]
            residuals = reprojection_residuals(
                now, thinned(window.confidence[index], step), earlier
            )
            features[DEPTH] = np.log(1 + np.maximum(residuals.depth.max(0), 0))  # log1p is slow
            features[COLOUR] = np.log(1 + np.maximum(residuals.colour.max(0), 0))
            features[SEEN] = residuals.visible.mean(0, dtype=np.float32)
            flow = self._flow(window, index, max(depths), now, earlier[-1], step)
            if flow is not None:
                seen = flow.known.astype(np.float32)
                features[FLOW] = sharpened(np.log(1 + flow.away), now.depth, FLOW_RADIUS)
                features[TRACED] = sharpened(seen, now.depth, FLOW_RADIUS)
                if past is not None:
                    at = flow.u, flow.v
                    features[CARRIED] = np.where(flow.known, sample_nearest(past.logit, *at), 0)
                    before = sample_nearest(past.called.view(np.uint8), *at) > 0
                    called = flow.known & before
        features[:FLOW] *= trust / (trust + HALF_TRUST)
        return Evidence(finite(features), called)

    def _flow(
        self,
        window: WindowEstimate,
        index: int,
        last: int,
        now: View,
        before: View,
        step: int,
    ) -> Flow | None:
        """Flow from a frame to an earlier one; None without their images or poses."""
        grey, earlier = (self._greys.get(window.frames[i].key) for i in (index, last))
        if grey is None or earlier is None or grey.shape != earlier.shape:
            return None
        if min(grey.shape) < LEAST_ROWS or not np.isfinite(window.T_gauge_camera).all():
            return None
        return flow_between(now, before, grey, earlier, step)

    def _view(self, window: WindowEstimate, index: int, depth: NDArray, step: int) -> View:
        """`View` of a frame; its image is thinned only once."""
        key = window.frames[index].key
        image = self._images.get(key)
        if image is None or image.shape[:2] != depth.shape:
            image = self._images[key] = thinned_rgb(window.images[index], step)
        return View.of(window, index, depth, image)

    def _earlier(
        self, window: WindowEstimate, index: int, scale: float, step: int, shape: tuple[int, int]
    ) -> tuple[dict[int, NDArray], _Past | None]:
        """Depths of some earlier frames of a frame's view, in the window's unit, by their index.

        Also the memory of the latest of them, if there is any.
        """
        keys = [frame.key for frame in window.frames]
        past = {p.key: p for p in self._past if p.depth.shape == shape}
        first = len(keys) - len(window.depth)  # from here on the window has depth itself
        view = keys[index].view
        known = [
            i
            for i, key in enumerate(keys[: window.reference])
            if key.view == view and (i >= first or key in past)
        ]
        if not known:
            return {}, None
        last = len(known) - 1
        chosen = sorted({known[round(last * i / (COMPARED - 1))] for i in range(COMPARED)})
        depths = {
            i: thinned(window.depth[i - first], step)
            if i >= first
            else past[keys[i]].depth / np.float32(scale)
            for i in chosen
        }
        return depths, past.get(keys[chosen[-1]])


def _logit(score: NDArray) -> NDArray[np.float32]:
    """Log-odds of scores in [0, 1], within `MAX_LOGIT`."""
    score = score.clip(LEAST_SCORE, 1 - LEAST_SCORE)
    return np.log(score / (1 - score)).clip(-MAX_LOGIT, MAX_LOGIT).astype(np.float32)


def threshold(
    probability: NDArray, config: MaskConfig, called: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Pixels (h, w) above ``mask.threshold``, and those that stay above a lower one.

    Args:
        probability: (h, w).
        config: thresholds; a negative one is chosen by Otsu (1979).
        called: (h, w) bool, pixels that were above before.
    """
    if config.threshold < 0:
        levels = (np.nan_to_num(probability).clip(0, 1) * 255).astype(np.uint8)
        level, _ = cv2.threshold(levels, 0, DYNAMIC, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        return levels > level
    above = probability > config.threshold
    if called is None or not config.hysteresis:
        return above
    return above | (called & (probability > config.threshold - config.hysteresis))


def clean(moving: NDArray[np.bool_], config: MaskConfig) -> NDArray[np.uint8]:
    """Mask (h, w) of 0 and 255 from moving pixels (h, w): drop specks, dilate."""
    return with_margin(without_specks(moving, config.min_area), config.dilate)


def without_specks(moving: NDArray[np.bool_], area: float) -> NDArray[np.bool_]:
    """Moving pixels (h, w) less the regions of fewer pixels than `area`."""
    if area <= 1 or not moving.any():
        return moving
    mask = moving.astype(np.uint8)
    cv2.filterSpeckles(mask, 0, math.ceil(area) - 1, 0)
    return mask.view(bool)


def with_margin(moving: NDArray[np.bool_], margin: int) -> NDArray[np.uint8]:
    """Mask (h, w) of 0 and 255 of moving pixels (h, w), and those as near to them as `margin`."""
    mask = moving.view(np.uint8) * np.uint8(DYNAMIC)
    if not margin or not mask.any():
        return mask
    size = 2 * margin + 1
    return cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
