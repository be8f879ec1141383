"""Ways of running weights over a sequence: as the node does, all at once, picture by picture."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.evaluation.methods.network import Network
from page4d_ros.evaluation.plans.protocol import OTHER_MASK, PAGE4D, SINGLE, STREAM, WHOLE
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.clip import estimate_clip
from page4d_ros.perception.dynamics import Dynamics
from page4d_ros.perception.pipeline import Perception

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from page4d_ros.datasets.sequence import FileSequence
    from page4d_ros.perception.types import Estimate
    from page4d_ros.truth import GroundTruthFrame

LABELS = {STREAM: 'streaming', WHOLE: 'whole clip', SINGLE: 'each picture alone'}


def label(mode: str, *, masked: bool) -> str:
    """Name of a mode in tables.

    Args:
        mode: of `MODES`.
        masked: whether the weights as configured let the mask into attention.
    """
    plain = LABELS[mode.removesuffix(OTHER_MASK)]
    if not mode.endswith(OTHER_MASK):
        return plain
    return f'{plain}, mask {"off" if masked else "on"} in attention'


def with_other_mask(network: Network) -> Network:
    """The same weights, with the mask's bias in attention off where it is on, and on where off.

    Raises:
        ConfigError: the weights have no mask head.
    """
    engine = network.engine.with_mask_in_attention(on=not network.engine.mask_in_attention)
    return Network(network.label, engine, network.config, network.classifier)


def run(
    mode: str, clip: FileSequence, indices: Sequence[int], network: Network
) -> Iterator[tuple[Estimate, GroundTruthFrame]]:
    """Estimates beside the truth, frame by frame.

    Args:
        mode: of `MODES`.
        clip: sequence, as `seen` by the network.
        indices: frames of it.
        network: weights and settings.

    Raises:
        ConfigError: the weights have no mask head, and the mode needs one.
    """
    if mode.endswith(OTHER_MASK):
        network = with_other_mask(network)
    frames = clip.frames(indices)
    kind = mode.removesuffix(OTHER_MASK)
    if kind == STREAM:
        yield from network.estimates(frames)
        return
    network.engine.clear()
    dynamics = Dynamics(network.config.mask, network.classifier)
    perception = Perception(network.config, network.engine, dynamics)
    if kind == WHOLE:  # the pictures of a clip have to be in memory anyway
        known = list(frames)
        pictures = [(frame.frame, frame.rgb) for frame in known]
        yield from zip(estimate_clip(pictures, perception), known, strict=True)
        return
    for frame in frames:
        yield next(estimate_clip([(frame.frame, frame.rgb)], perception)), frame


def seen(clip: FileSequence, network: Network, quirks: str) -> FileSequence:
    """The sequence as a network is shown it: PAGE-4D's code squashes pictures to squares."""
    if quirks != PAGE4D:
        return clip
    return replace(
        clip,
        change=partial(squashed, side=network.engine.resolution, patch=network.engine.patch_size),
    )


def squashed(frame: GroundTruthFrame, side: int, patch: int) -> GroundTruthFrame:
    """The picture as PAGE-4D's evaluation hands it over: cropped as usual, then made a square.

    Intrinsics are left out, because that code knows none; depth keeps its pixels.
    """
    height, width = frame.rgb.shape[:2]
    fit = ImageTransform.crop(width, height, side, patch)
    size = fit.resized_width, fit.resized_height
    image = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_CUBIC)
    image = image[fit.crop_y : fit.crop_y + fit.height]
    mask = frame.mask
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST) > 0
    return frame._replace(rgb=cv2.resize(image, (side, side)), camera=None, mask=mask)
