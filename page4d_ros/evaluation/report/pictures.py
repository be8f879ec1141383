"""A strip of frames: what came in, what the truth is, what the node says."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, NamedTuple

import cv2
import matplotlib as mpl
import numpy as np

from page4d_ros.bags import ground_truth
from page4d_ros.datasets.bag_index import depth_of, mask_of, rgb_of
from page4d_ros.evaluation.metrics.depth_alignment import SizeError, at_source
from page4d_ros.evaluation.report.tables import number
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.datasets.bag_index import BagIndex
    from page4d_ros.evaluation.metrics.recording import Case

FRAMES = 6
WIDTH = 360  # pixels of a picture in the report
QUALITY = 82
COLOUR_MAP = 'turbo'
WORST = 4  # frames
APART, LEAST = 1 / 20, 2  # of all frames, and frames at least: neighbours look the same
RED, OUTLINE = np.array([239, 68, 68]), (255, 255, 255)
DECODERS = {'depth': depth_of, 'mask': mask_of, 'rgb': rgb_of}


class Picture(NamedTuple):
    """An image for the page: row of the strip, description, data URI."""

    label: str
    alt: str
    uri: str


Columns = list[tuple[str, list[Picture]]]  # caption and pictures of frames


class Bar(NamedTuple):
    """Colours of depth in pictures: nearest and farthest depth, and CSS between them."""

    near: str
    far: str
    gradient: str


def spread(case: Case) -> dict[int, str]:
    """Stamps of some frames from the first to the last, with captions."""
    stamps = _stamps(case)
    picks = np.linspace(0, len(stamps) - 1, FRAMES) if stamps else ()
    chosen = sorted({stamps[round(pick)] for pick in picks})
    return {stamp: f'{(stamp - stamps[0]) / NS_PER_S:.1f} s' for stamp in chosen}


def worst_frames(case: Case, errors: list[tuple[int, float]]) -> dict[int, str]:
    """Stamps of the frames with the largest errors, these first, with captions."""
    first = min(_stamps(case), default=0)
    found = worst(errors)
    return {
        stamp: f'{number(error)} at {(stamp - first) / NS_PER_S:.1f} s' for stamp, error in found
    }


def worst(errors: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most `WORST` frames (stamp, error), the largest error first, none beside another."""
    apart = max(APART * len(errors), LEAST)
    chosen: list[int] = []
    for index in sorted(range(len(errors)), key=lambda i: -errors[i][1]):
        if all(abs(index - other) >= apart for other in chosen):
            chosen.append(index)
    return [errors[index] for index in chosen[:WORST]]


def _stamps(case: Case) -> list[int]:
    """All stamps of the topic with most pictures, in order."""
    topics = [case.output(f'{name}/image') for name in DECODERS]
    return max((sorted(set(case.recording.stamps.get(topic, ()))) for topic in topics), key=len)


def strip(
    case: Case, scale: float, unit: str, chosen: dict[int, str]
) -> tuple[Columns, Bar | None]:
    """Draw frames.

    Args:
        case: recording and source.
        scale: brings published depth to the truth's unit.
        unit: of that.
        chosen: stamps and captions, in the order of the columns.
    """
    outputs = {name: case.output(f'{name}/image') for name in DECODERS}
    truths = {
        'depth': case.truth(ground_truth.DEPTH),
        'mask': case.truth(ground_truth.MASK),
        'rgb': case.image or None,
    }
    recorded = _chosen(case.recording, outputs, set(chosen))
    truth = _chosen(case.source, truths, set(chosen))
    shown = list(truth['depth'].values()) or [d * scale for d in recorded['depth'].values()]
    limits = _range(shown)
    columns = []
    for stamp, caption in chosen.items():
        ours, real = (
            {name: arrays.get(stamp) for name, arrays in group.items()}
            for group in (recorded, truth)
        )
        if ours['depth'] is not None:
            ours['depth'] = ours['depth'] * np.float32(scale)
        columns.append((caption, _column(ours, real, limits or (0.0, 1.0))))
    if limits is None:
        return columns, None
    colours = (mpl.colormaps[COLOUR_MAP](np.linspace(0, 1, 12))[:, :3] * 255).astype(int)
    gradient = ', '.join(f'rgb({r} {g} {b})' for r, g, b in colours)
    near, far = (number(limit, 2) for limit in limits)
    return columns, Bar(near, f'{far} {unit}', gradient)


def _chosen(
    log: BagIndex | None, topics: dict[str, str | None], chosen: set[int]
) -> dict[str, dict[int, NDArray]]:
    """Arrays of the chosen stamps, by kind of picture."""
    return {
        name: dict(log.decoded(topic, DECODERS[name], chosen.__contains__))
        if log and topic and chosen
        else {}
        for name, topic in topics.items()
    }


def _range(depths: list[NDArray]) -> tuple[float, float] | None:
    """Nearest and farthest depth; None without any."""
    values = np.concatenate([d[np.isfinite(d)] for d in depths] or [np.zeros(0)])
    if not values.size:
        return None
    near, far = np.percentile(values, (1, 99))
    return float(near), float(max(far, near + 1e-6))


def _column(
    ours: dict[str, NDArray | None], real: dict[str, NDArray | None], limits: tuple[float, float]
) -> list[Picture]:
    """Pictures of one frame, at the source's pixels where the sizes allow it."""
    image = real['rgb'] if real['rgb'] is not None else ours['rgb']
    shape = None if real['rgb'] is None else image.shape[:2]
    fitted = {
        name: _fitted(ours[name], shape, fill) for name, fill in (('depth', np.nan), ('mask', 0))
    }
    out = []
    if image is not None:
        out.append(Picture('input', 'Input image', jpeg(image)))
    if real['depth'] is not None:
        out.append(Picture('true depth', 'True depth', jpeg(paint(real['depth'], *limits))))
    if fitted['depth'] is not None:
        picture = jpeg(paint(fitted['depth'], *limits))
        out.append(Picture('predicted depth', 'Predicted depth', picture))
    mask = fitted['mask']
    if mask is not None and image is not None and mask.shape == image.shape[:2]:
        alt = 'Input with predicted motion in red'
        if real['mask'] is not None:
            alt += ', true outline in white'
        out.append(Picture('motion mask', alt, jpeg(overlay(image, mask, real['mask']))))
    return out


def _fitted(array: NDArray | None, shape: tuple[int, int] | None, fill: float) -> NDArray | None:
    if array is None or shape is None:
        return array
    try:
        return at_source(array, shape, fill)
    except SizeError:
        return array


def paint(depth: NDArray, near: float, far: float) -> NDArray[np.uint8]:
    """Depth (H, W) in colours (H, W, 3); unknown pixels are hatched in grey."""
    known = np.isfinite(depth)
    share = (np.where(known, depth, near) - near) / (far - near)
    colours = (mpl.colormaps[COLOUR_MAP](np.clip(share, 0, 1))[..., :3] * 255).astype(np.uint8)
    row, column = np.indices(depth.shape)
    period = max(depth.shape[1] // 40, 2)
    hatch = np.where((row + column) // period % 2, 150, 105).astype(np.uint8)
    return np.where(known[..., None], colours, hatch[..., None])


def overlay(image: NDArray, mask: NDArray, truth: NDArray | None) -> NDArray[np.uint8]:
    """Image (H, W, 3) with what moves in red, and the outline of what truly moves in white."""
    red = (0.45 * image + 0.55 * RED).astype(np.uint8)
    out = np.ascontiguousarray(np.where(mask[..., None] > 0, red, image))
    if truth is not None and truth.shape == mask.shape:
        outlines, _ = cv2.findContours(
            truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(out, outlines, -1, OUTLINE, max(1, image.shape[1] // 320))
    return out


def jpeg(image: NDArray[np.uint8]) -> str:
    """Data URI of an image (H, W, 3), no wider than the report needs."""
    height, width = image.shape[:2]
    if width > WIDTH:
        size = (WIDTH, max(1, round(height * WIDTH / width)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    _, data = cv2.imencode('.jpg', np.ascontiguousarray(image[..., ::-1]), options)
    return 'data:image/jpeg;base64,' + b64encode(data).decode()
