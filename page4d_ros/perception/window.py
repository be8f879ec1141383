"""The output of a network in the terms of the perception."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import torch

from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.perception.types import WindowEstimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.model.network import NetworkOutput
    from page4d_ros.perception.types import FrameKey, FrameSet


class Fits:
    """Ways of the cameras' images to the network's input, which has one size for all of them.

    The size is that of the first image: by `ImageTransform.crop` for it and for others of its
    shape, by `ImageTransform.fill` for cameras of another shape.

    Args:
        width: of the network's input.
        patch: side of the network's patches.
    """

    def __init__(self, width: int, patch: int) -> None:
        self._width, self._patch = width, patch
        self._by_view: dict[int, ImageTransform] = {}

    def update(
        self, frames: FrameSet, images: Sequence[NDArray]
    ) -> tuple[list[ImageTransform], bool]:
        """Ways of the images (H, W, 3) of a set; True if a camera's images have changed size.

        Raises:
            FrameError: an image is far too narrow.
        """
        sizes = dict(zip(frames.views, (image.shape[1::-1] for image in images), strict=True))
        known = self._by_view
        changed = any(
            view in known and (known[view].source_width, known[view].source_height) != size
            for view, size in sizes.items()
        )
        fits: dict[int, ImageTransform] = {} if changed else dict(known)
        for view, size in sizes.items():
            if view not in fits:
                fits[view] = self._fit(size, next(iter(fits.values()), None))
        self._by_view = fits
        return [fits[view] for view in frames.views], changed

    def _fit(self, size: tuple[int, int], first: ImageTransform | None) -> ImageTransform:
        own = ImageTransform.crop(*size, self._width, self._patch)
        if first is None or (own.width, own.height) == (first.width, first.height):
            return own
        return ImageTransform.fill(*size, first.width, first.height)


def window_of(
    sets: tuple[FrameSet, ...],
    fits: Sequence[ImageTransform],
    images: Sequence[Tensor],
    output: NetworkOutput,
) -> WindowEstimate:
    """Estimate of a window from the network's output; its gauge is the first camera's frame.

    Args:
        sets: frames of the window by time, newest last.
        fits: source image to network image, one per frame; all have the same output size.
        images: inputs of the network, one per frame, (3, h, w) each.
        output: of a batch of one, with the dynamic maps of the newest set if of any.
    """
    width, height = fits[0].width, fits[0].height
    T_camera_gauge, K = decode_pose(output.pose_enc[0].double(), (height, width))
    T_camera_gauge, K = T_camera_gauge.cpu().numpy(), K.cpu().numpy()
    score, points, gram = output.mask_score, output.world_points, output.gram
    return WindowEstimate(
        sets=sets,
        transforms=tuple(fits),
        images=tuple(images),
        T_gauge_camera=inverse(transform(T_camera_gauge[:, :, :3], T_camera_gauge[:, :, 3])),
        cameras=tuple(PinholeCamera.from_matrix(k, width, height) for k in K),
        depth=on_host(output.depth[0]),
        confidence=on_host(1.0 - 1.0 / output.depth_conf[0]),
        dynamic=None if score is None else on_host(dynamic_probability(_wide(score[0]))),
        gram=None if gram is None else on_host(gram[-len(sets[-1].frames) :]),
        points=None if points is None else on_host(points[0]),
    )


S = TypeVar('S', bound='HasFrames')


class HasFrames(Protocol):
    """A frame set with what an engine keeps for its frames."""

    frames: FrameSet

    def only(self: S, view: int) -> S:
        """The set of one view that it has."""


def first_new(sets: Sequence[HasFrames], new: int, anchor: FrameKey | None) -> int:
    """Index of the first set that gets depth: whole sets, for which graphs are made.

    Args:
        sets: of the window, newest last.
        new: sets since the last step; the newest gets depth anyway.
        anchor: see `Engine.step`.
    """
    first = len(sets) - max(new, 1)
    holding = (index for index, each in enumerate(sets) if anchor in each.frames.keys)
    return min(first, next(holding, first))


def by_view(sets: Sequence[S], since: int) -> Iterator[tuple[list[S], int]]:
    """Sets of each view by itself, and how many of the newest get depth, by increasing view.

    Those are as many as come after the first set that gets depth, and one before, which ties the
    window to the one of the last step also where that set has no frame of the view.

    Args:
        sets: of the window, newest last.
        since: index of the first set that gets depth.
    """
    for view in sorted({view for each in sets for view in each.frames.views}):
        mine = [each.only(view) for each in sets if view in each.frames.views]
        newer = sum(view in each.frames.views for each in sets[since + 1 :])
        yield mine, min(newer + 1, len(mine))


def cells_of(sets: Sequence[FrameSet]) -> tuple[tuple[int, int], ...]:
    """Cells of a window's frames in the grid of its views and times; see `StepPlan`."""
    views = sorted({view for each in sets for view in each.views})
    if len(views) == 1:
        return ()
    return tuple(
        (views.index(view), time) for time, each in enumerate(sets) for view in each.views
    )


def on_host(x: Tensor) -> NDArray:
    """Array on the host, of 32 bits at least."""
    return _wide(x).cpu().numpy()


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
