"""Ways of running weights over a sequence: as the node does, all at once, image by image."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import cv2
import numpy as np

from page4d_ros.errors import ConfigError, DeviceMemoryError
from page4d_ros.evaluation.methods.network import Network, as_output
from page4d_ros.evaluation.protocol import OTHER_MASK, PAGE4D, SINGLE, STREAM, WHOLE
from page4d_ros.evaluation.result import UnsuitableError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.perception.clip import estimate_clip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from page4d_ros.evaluation.protocol import Selection
    from page4d_ros.evaluation.result import Output, Source
    from page4d_ros.truth import GroundTruthFrame

LABELS = {STREAM: 'streaming', WHOLE: 'whole clip', SINGLE: 'each picture alone'}


class Mode:
    """A network in a mode.

    Args:
        mode: of `MODES`.
        network: weights and settings.
        whole_most: frames that are taken at once, at most.
        required: True if the evaluation ends where the mode cannot run.
        quirks: whose code is imitated; that of PAGE-4D squashes images to squares.

    Attributes:
        kind: STREAM, WHOLE or SINGLE.
    """

    def __init__(
        self,
        mode: str,
        network: Network,
        *,
        whole_most: int,
        required: bool = False,
        quirks: str = '',
    ) -> None:
        self.mode, self.network, self.whole_most = mode, network, whole_most
        self.required, self.quirks = required, quirks
        self.kind = mode.removesuffix(OTHER_MASK)
        self.label = LABELS[self.kind]
        if mode.endswith(OTHER_MASK):
            masked = network.engine.mask_in_attention
            self.label += f', mask {"off" if masked else "on"} in attention'

    def run(self, source: Source) -> Iterator[Output]:
        """Outputs frame by frame; see `Method`."""
        selection = source.data
        if not len(selection.indices):
            raise UnsuitableError(f'has only {selection.sequence.count} frames')
        if self.kind == WHOLE and len(selection.indices) > self.whole_most:
            raise UnsuitableError(f'more than {self.whole_most} frames')
        return self._outputs(self.seen(selection))

    def seen(self, selection: Selection) -> Selection:
        """The frames as the network is shown them."""
        if self.quirks != PAGE4D:
            return selection
        engine = self.network.engine
        change = partial(squashed, side=engine.resolution, patch=engine.patch_size)
        return replace(selection, sequence=replace(selection.sequence, change=change))

    def _outputs(self, selection: Selection) -> Iterator[Output]:
        try:
            yield from self._estimated(selection.frames())
        except (ConfigError, DeviceMemoryError) as error:
            if self.required:
                raise
            raise UnsuitableError(str(error)) from error

    def _estimated(self, frames: Iterator[GroundTruthFrame]) -> Iterator[Output]:
        network = self.network
        if self.mode.endswith(OTHER_MASK):
            network = with_other_mask(network)
        if self.kind == STREAM:
            yield from network.outputs(frames)
            return
        network.engine.clear()
        perception = network.perception()
        if self.kind == WHOLE:  # the images have to be in memory anyway
            known = list(frames)
            images = [(frame.frame, frame.rgb) for frame in known]
            yield from map(as_output, estimate_clip(images, perception), known)
            return
        for frame in frames:
            yield as_output(next(estimate_clip([(frame.frame, frame.rgb)], perception)), frame)


def with_other_mask(network: Network) -> Network:
    """The same weights, with the mask's bias in attention off where it is on, and on where off.

    Raises:
        ConfigError: the weights have no mask head.
    """
    engine = network.engine.with_mask_in_attention(on=not network.engine.mask_in_attention)
    return Network(network.label, engine, network.config, network.classifier)


def squashed(frame: GroundTruthFrame, side: int, patch: int) -> GroundTruthFrame:
    """The image as PAGE-4D's evaluation hands it over: cropped as usual, then made a square.

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
