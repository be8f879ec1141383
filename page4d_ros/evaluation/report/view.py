"""The scene as a figure to turn around: plotly.js draws it in the page, offline."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from page4d_ros.evaluation.report.plots import ESTIMATE, MOVING, TRUTH
from page4d_ros.units import NS_PER_S

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from page4d_ros.evaluation.report.scene import Moment, Scene

COLOURS = 256  # of a cloud, one byte a point
CAMERA = '#f59e0b'
FRUSTUM = 0.04  # depth of a drawn camera, of the scene's extent
# corners of a camera's picture on the plane z = 1 of its optical frame, then its centre
CORNERS = np.array([[-1, -0.75, 1], [1, -0.75, 1], [1, 0.75, 1], [-1, 0.75, 1], [0, 0, 0]])
STROKES = (4, 0, 1, 4, 2, 3, 4), (0, 3), (1, 2)
EYE = {'x': -1.1, 'y': 0.55, 'z': 0.9}  # behind the first camera, to its left, above
LONGEST = 1.35  # side of the scene, in units of EYE
MOST_POSES = 2_000
CAMERAS = 8  # at once


def library() -> Markup:
    """plotly.js and what draws the figures of a page with it, for one script element."""
    from plotly.offline import get_plotlyjs

    ours = Path(__file__).with_name('view.js').read_text(encoding='utf-8')
    return Markup(f'{get_plotlyjs()}\n{ours}')  # noqa: S704


def view(scene: Scene, unit: str) -> Markup:
    """JSON of a figure: clouds, paths, cameras, and a slider through the moments.

    Args:
        scene: what to show.
        unit: of its lengths; "" where they have none.
    """
    limits = scene.limits()
    unit = f' [{unit}]' if unit else ''
    extent = limits[:, 1] - limits[:, 0]
    size = FRUSTUM * float(extent.max())
    # plotly's own aspect of the data changes with what the legend hides
    ratio = dict(zip('xyz', (LONGEST * extent / extent.max()).tolist(), strict=True))
    paths = {'estimate': (scene.path, ESTIMATE), 'truth': (scene.truth, TRUTH)}
    traces = [_static(scene.static)] if len(scene.static) else []
    traces += [_line(p, name, colour) for name, (p, colour) in paths.items() if p is not None]
    moving, cameras = _at(scene.moments, size)
    slider = len(traces), len(traces) + 1  # traces that it changes
    if scene.moments:
        traces += [
            _trace('what moves', 'markers', moving, marker={'size': 2, 'color': MOVING}),
            _trace('cameras', 'lines', cameras, line={'width': 3, 'color': CAMERA}),
        ]
    axes = {
        f'{name}axis': {'title': {'text': f'{name}{unit}'}, 'range': limits[i].tolist()}
        for i, name in enumerate('xyz')
    }
    layout = {
        'scene': axes | {'aspectmode': 'manual', 'aspectratio': ratio, 'camera': {'eye': EYE}},
        'sliders': [_slider(scene.moments, size, slider)] if scene.moments else [],
    }
    text = json.dumps({'data': traces, 'layout': layout}, allow_nan=False)
    return Markup(text.replace('<', '\\u003c'))  # noqa: S704


def _static(points: NDArray) -> dict[str, Any]:
    """Cloud in its own colours: a palette, and one byte a point."""
    pixels = (255 * points[None, :, 3:]).round().clip(0, 255).astype(np.uint8)
    picture = Image.fromarray(pixels).quantize(COLOURS)
    palette = np.zeros((COLOURS, 3), np.uint8)
    known = np.array(picture.getpalette()).reshape(-1, 3)
    palette[: len(known)] = known
    scale = [[i / (COLOURS - 1), f'rgb({r},{g},{b})'] for i, (r, g, b) in enumerate(palette)]
    marker = {'size': 2, 'color': _packed(np.asarray(picture)[0]), 'colorscale': scale}
    marker |= {'cmin': 0, 'cmax': COLOURS - 1, 'showscale': False}
    return _trace('what stands', 'markers', points[:, :3], marker=marker)


def _line(path: NDArray, name: str, colour: str) -> dict[str, Any]:
    thin = path[:: -(-len(path) // MOST_POSES)]
    return _trace(name, 'lines', thin, line={'width': 5, 'color': colour})


def _trace(name: str, mode: str, points: NDArray, **look: Any) -> dict[str, Any]:
    places = dict(zip('xyz', _columns(points), strict=True))
    return {'type': 'scatter3d', 'name': name, 'mode': mode, 'hoverinfo': 'skip'} | places | look


def _at(moments: list[Moment], size: float) -> tuple[NDArray, NDArray]:
    """Moving points (n, 3), and lines (m, 3) of the cameras; NaN parts one line from the next."""
    empty = np.zeros((0, 3))
    points = np.vstack([empty, *(moment.points[:, :3] for moment in moments)])
    strokes = [empty]
    for moment in moments[:: -(-len(moments) // CAMERAS) or 1]:
        for T in moment.T_world_cameras:
            corners = size * CORNERS @ T[:3, :3].T + T[:3, 3]
            for stroke in STROKES:
                strokes += [corners[list(stroke)], np.full((1, 3), np.nan)]
    return points, np.vstack(strokes)


def _slider(moments: list[Moment], size: float, traces: tuple[int, int]) -> dict[str, Any]:
    """All moments at first, then each by itself."""
    choices = [('all', moments)]
    choices += [
        (f'{(moment.stamp_ns - moments[0].stamp_ns) / NS_PER_S:.1f} s', [moment])
        for moment in moments
    ]
    steps = []
    for label, chosen in choices:
        places = zip(*map(_columns, _at(chosen, size)), strict=True)
        change = {axis: list(both) for axis, both in zip('xyz', places, strict=True)}
        steps.append({'label': label, 'method': 'restyle', 'args': [change, list(traces)]})
    return {'active': 0, 'currentvalue': {'prefix': 'moving: '}, 'steps': steps}


def _columns(points: NDArray) -> list[dict[str, str]]:
    return [_packed(column.astype(np.float32)) for column in points.T]


def _packed(values: NDArray) -> dict[str, str]:
    """A typed array, as plotly.js reads it."""
    kind = f'{values.dtype.kind}{values.dtype.itemsize}'
    return {'dtype': kind, 'bdata': b64encode(np.ascontiguousarray(values)).decode()}
