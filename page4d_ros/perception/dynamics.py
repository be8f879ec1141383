"""What moves: all evidence about a pixel as one probability, and a mask a consumer can use."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import torch
from torch.nn import functional

from page4d_ros.geometry.camera import PinholeCamera
from page4d_ros.perception.calibration import FEATURES
from page4d_ros.perception.residuals import look_back

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import MaskConfig
    from page4d_ros.perception.calibration import Calibration
    from page4d_ros.perception.types import FrameKey, WindowEstimate

DYNAMIC = 255
HEAD, GRAM, DEPTH, COLOUR, SEEN, CARRIED = range(len(FEATURES))
MOST_COLUMNS = 320  # that evidence is gathered at; wider images are thinned
LOOKS = 3  # earlier frames that the newest is compared with
MAX_LOGIT = 6.0
AGREEMENT = 3.0  # deviations within which two frames see the same surface
EDGE_RADIUS = 0.0625  # of the width, of the guided filter
EDGE_DEPTH = 0.1  # steps of the logarithm of depth below which the filter smooths


class _Past(NamedTuple):
    key: FrameKey
    depth: Tensor  # (h, w) in the unit of the odometry's chain
    logit: Tensor  # (h, w)
    called: Tensor  # (h, w) bool


class Evidence(NamedTuple):
    """What is known of the newest frame's pixels.

    Attributes:
        features: (len(FEATURES), h, w); 0 is no evidence.
        called: (h, w) bool, whether the same surface was called moving in the frame before.
    """

    features: Tensor
    called: Tensor


class Dynamics:
    """Probability and mask of the newest frame, from one window to the next.

    Args:
        config: source, threshold and cleaning.
        calibration: what the evidence of these weights is worth.

    Attributes:
        features: (len(FEATURES), h', w') that the newest frame was judged by, of every n-th pixel.
    """

    def __init__(self, config: MaskConfig, calibration: Calibration) -> None:
        self.config, self.calibration = config, calibration
        self.features: Tensor | None = None
        self._past: list[_Past] = []

    @property
    def gram(self) -> bool:
        """Whether the configured source reads Gram statistics."""
        return bool(self.calibration.sources[self.config.source].get('gram'))

    def forget(self) -> None:
        """Begin anew."""
        self._past.clear()

    def update(
        self, window: WindowEstimate, scale: float = 1.0
    ) -> tuple[Tensor, NDArray[np.uint8]]:
        """Answer for the newest frame.

        Args:
            window: its depths may be of the newest frame alone.
            scale: from the window's unit to one that all windows share.

        Returns:
            Probability (h, w) on the device that a pixel moves; and the mask (h, w), 0 static,
            255 dynamic.
        """
        depth = window.depth[-1]
        step = -(-depth.shape[1] // MOST_COLUMNS)
        thin = thinned(window, step)
        evidence = self._evidence(thin, scale)
        self.features = evidence.features
        logit = self._judge(evidence.features)
        both = torch.stack([logit.sigmoid(), evidence.called.to(logit)])
        probability, before = restored(both, thin.depth[-1], depth)
        called = threshold(probability, self.config, before > 0.5)
        past = _Past(thin.frames[-1].key, thin.depth[-1] * scale, logit, called[::step, ::step])
        inside = {frame.key for frame in window.frames}
        self._past = [p for p in self._past if p.key in inside] + [past]
        return probability, clean(called.cpu().numpy(), self.config)

    def _judge(self, features: Tensor) -> Tensor:
        """Log-odds (h, w) of features (len(FEATURES), h, w), by the configured source."""
        coefficients = self.calibration.sources[self.config.source]
        weights = features.new_tensor([coefficients.get(name, 0.0) for name in FEATURES])
        logit = torch.tensordot(weights, features, 1) + coefficients['bias']
        return logit.clamp_(-MAX_LOGIT, MAX_LOGIT)

    def _evidence(self, window: WindowEstimate, scale: float) -> Evidence:
        """What the network, its attention, and depth and colour of earlier frames say."""
        depth = window.depth[-1]
        features = depth.new_zeros(len(FEATURES), *depth.shape)
        called = torch.zeros_like(depth, dtype=torch.bool)
        if window.dynamic is not None:
            score = window.dynamic[-1].float().logit(1e-6).clamp(-MAX_LOGIT, MAX_LOGIT)
            features[HEAD] = sharpened(upsampled(score, depth.shape), depth)
        if window.gram is not None:
            features[GRAM] = upsampled(window.gram.float(), depth.shape)
        frames, past = self._earlier(window, scale)
        if not frames:
            return Evidence(features.nan_to_num_(0, 0, 0), called)
        seen = look_back(window, list(frames), torch.stack(list(frames.values())))
        features[DEPTH] = seen.depth.amax(0).relu().log1p()
        features[COLOUR] = seen.colour.amax(0).relu().log1p()
        features[SEEN] = seen.visible.float().mean(0)
        if past is not None:
            same = seen.visible[-1] & (seen.depth[-1].abs() < AGREEMENT)
            left = torch.stack([past.logit, past.called.to(depth)])[None]
            left = functional.grid_sample(left, seen.at[-1:], mode='nearest', align_corners=True)
            features[CARRIED] = torch.where(same, left[0, 0], 0)
            called = same & (left[0, 1] > 0.5)
        return Evidence(features.nan_to_num_(0, 0, 0), called)

    def _earlier(
        self, window: WindowEstimate, scale: float
    ) -> tuple[dict[int, Tensor], _Past | None]:
        """Depths of some earlier frames by index, in the window's unit; what the last one left."""
        keys = [frame.key for frame in window.frames]
        past = {p.key: p for p in self._past if p.depth.shape == window.depth.shape[1:]}
        first = len(keys) - len(window.depth)  # from here on the window has depth itself
        known = [i for i, key in enumerate(keys[:-1]) if i >= first or key in past]
        if not known:
            return {}, None
        spread = np.linspace(0, len(known) - 1, LOOKS).round().astype(int)
        chosen = sorted({known[i] for i in spread})
        depths = {
            i: window.depth[i - first] if i >= first else past[keys[i]].depth / scale
            for i in chosen
        }
        return depths, past.get(keys[chosen[-1]])


def thinned(window: WindowEstimate, step: int) -> WindowEstimate:
    """The window with every step-th pixel of its rows and columns."""
    if step == 1:
        return window
    view = (..., slice(None, None, step), slice(None, None, step))
    depth = window.depth[view]
    height, width = depth.shape[1:]
    cameras = tuple(
        PinholeCamera(width, height, *(f / step for f in (c.fx, c.fy, c.cx, c.cy)))
        for c in window.cameras
    )
    images = tuple(image[view] for image in window.images)
    return replace(
        window, cameras=cameras, images=images, depth=depth, confidence=window.confidence[view]
    )


def restored(thin: Tensor, thin_depth: Tensor, depth: Tensor) -> Tensor:
    """A map (c, h', w') of every n-th pixel at all pixels (h, w).

    Each pixel takes the neighbour that is nearest in depth, so that edges stay where they are.

    Args:
        thin: the map.
        thin_depth: (h', w').
        depth: (h, w).
    """
    if thin_depth.shape == depth.shape:
        return thin
    height, width = depth.shape
    step = -(-width // thin_depth.shape[1])
    wide = functional.pad(torch.cat([thin_depth[None], thin]), (0, 1, 0, 1), mode='replicate')
    best = out = None
    for part in (wide[:, :-1, :-1], wide[:, :-1, 1:], wide[:, 1:, :-1], wide[:, 1:, 1:]):
        whole = part.repeat_interleave(step, 1).repeat_interleave(step, 2)[:, :height, :width]
        away = (whole[0] - depth).abs()
        if best is None:
            best, out = away, whole[1:]
        else:
            out = torch.where(away < best, whole[1:], out)
            best = torch.minimum(away, best)
    return out


def upsampled(score: Tensor, size: tuple[int, int]) -> Tensor:
    """(h', w') at the pixels (h, w)."""
    return functional.interpolate(score[None, None], size, mode='bilinear', align_corners=False)[
        0, 0
    ]


def sharpened(score: Tensor, depth: Tensor) -> Tensor:
    """Move the edges of a score (h, w) to those of depth (h, w): guided filter (He et al., 2010).

    Depth has the edges of bodies; those of the image are of texture, too.
    """
    guide = depth.double().clamp_min(1e-6).log().nan_to_num(0, 0, 0)
    guide = guide - guide.median()
    radius = max(1, round(EDGE_RADIUS * depth.shape[1]))
    size = box_sums(torch.ones_like(guide), radius)
    score = score.double().nan_to_num(0, 0, 0)
    g, p, gg, gp = (
        box_sums(torch.stack([guide, score, guide * guide, guide * score]), radius) / size
    )
    slope = (gp - g * p) / (gg - g * g + EDGE_DEPTH**2)
    slope, offset = box_sums(torch.stack([slope, p - slope * g]), radius) / size
    return (slope * guide + offset).float()


def box_sums(maps: Tensor, radius: int) -> Tensor:
    """Sum (..., h, w) over the pixels within a square around each, as far as there are any."""
    side = 2 * radius + 1
    total = functional.pad(maps, (radius + 1, radius, radius + 1, radius))
    total = total.cumsum(-1).cumsum(-2)
    rows = total[..., side:, :] - total[..., :-side, :]
    return rows[..., side:] - rows[..., :-side]


def threshold(probability: Tensor, config: MaskConfig, called: Tensor | None = None) -> Tensor:
    """Pixels (h, w) above ``mask.threshold``, and those that stay above a lower one.

    Args:
        probability: (h, w).
        config: thresholds; a negative one is chosen by Otsu (1979).
        called: (h, w) bool, pixels that were above before.
    """
    if config.threshold < 0:
        levels = (probability.nan_to_num().clamp(0, 1) * 255).to(torch.uint8).cpu().numpy()
        level, _ = cv2.threshold(levels, 0, DYNAMIC, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
        return torch.from_numpy(levels > level).to(probability.device)
    above = probability > config.threshold
    if called is None or not config.hysteresis:
        return above
    return above | (called & (probability > config.threshold - config.hysteresis))


def clean(moving: NDArray[np.bool_], config: MaskConfig) -> NDArray[np.uint8]:
    """Mask (h, w) of 0 and 255 from moving pixels (h, w): drop specks, dilate."""
    mask = moving.view(np.uint8) * np.uint8(DYNAMIC)
    if not mask.any():
        return mask
    if config.min_area > 1:
        _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask)
        small = statistics[:, cv2.CC_STAT_AREA] < config.min_area
        if small.any():
            mask[small[labels]] = 0
    if config.dilate:
        size = 2 * config.dilate + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))
    return mask
