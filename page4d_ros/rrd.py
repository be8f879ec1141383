"""Estimates as a recording for the viewer Rerun (https://rerun.io), streamed into a file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np

# a warning that the file has no footer, which is on purpose
os.environ.setdefault('RUST_LOG', 'warn,re_log_encoding=error')

import rerun as rr
import rerun.blueprint as rrb

from page4d_ros.config import PointsConfig
from page4d_ros.errors import Page4dError
from page4d_ros.perception.clouds import cloud, colours

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.perception.types import Estimate

TIME = 'stamp'
WORLD, CAMERA, TRUTH = 'world', 'world/camera', 'world/truth'
POINTS = {'static': 3_000, 'dynamic': 10_000}  # per frame at most
TRAIL_S = 5.0  # static points stay so long
TRUTH_WIDTH = 256  # pixels at most, of true depth and masks
JPEG_QUALITY = 85
BLUE, GREY, RED, GREEN = (25, 118, 210), (150, 150, 150), (229, 57, 53), (67, 160, 71)
MOVING, TRULY_MOVING = 1, 2


class Known(Protocol):
    """Ground truth of a frame; None where it is not known.

    Attributes:
        T_world_camera: (4, 4) in the true world.
        depth: (H, W), NaN where unknown.
        mask: (H, W) bool, what moves.
    """

    T_world_camera: NDArray[np.float64] | None
    depth: NDArray[np.float32] | None
    mask: NDArray[np.bool_] | None


class Similarity(Protocol):
    """truth = scale * rotation @ estimate + translation, of positions (3,)."""

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]
    scale: float


class RrdWriter:
    """Writes images, clouds, poses, bodies and curves over the frames' stamps.

    The world is that of the trajectory: the first optical frame, x right, y down, z forward. It is
    a context manager that closes the file.

    Args:
        path: ``.rrd`` file; an older one is replaced.
        name: of what is shown.
        about: what to know of it, in Markdown.

    Raises:
        Page4dError: the file cannot be written.
    """

    def __init__(self, path: Path, name: str, about: str = '') -> None:
        at_once = rr.ChunkBatcherConfig(flush_num_rows=1)
        self._stream = rr.RecordingStream('page4d', batcher_config=at_once)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # the footer is an index of all that was written, which would grow in memory
            self._stream.save(path, default_blueprint=blueprint(), write_footer=False)
        except (OSError, RuntimeError) as error:
            raise Page4dError(f'{path}: cannot be written: {error}') from error
        self._stream.send_recording_name(name)
        self._last: dict[str, NDArray] = {}
        self._positions: list[tuple[int, NDArray, NDArray]] = []
        classes = [(MOVING, 'moves', RED), (TRULY_MOVING, 'truly moves', GREEN)]
        self._log('/', rr.AnnotationContext([(0, 'static', (0, 0, 0, 0)), *classes]), static=True)
        self._log(WORLD, rr.ViewCoordinates.RDF, static=True)
        self._log('about', rr.TextDocument(about, media_type='text/markdown'), static=True)

    def __enter__(self) -> RrdWriter:
        """Give the writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._stream.flush()
        self._stream.disconnect()

    def add(self, estimate: Estimate, known: Known | None = None) -> None:
        """Write the newest frame, and what is true of it."""
        stamp_ns = estimate.frame.stamp_ns
        self._stream.set_time(TIME, timestamp=np.datetime64(stamp_ns, 'ns'))
        for stage, seconds in estimate.seconds.items():
            self._log(f'plots/milliseconds/{stage}', rr.Scalars(1e3 * seconds))
        self._log('plots/moving/called', rr.Scalars(float((estimate.mask > 0).mean())))
        odometry = estimate.odometry
        begins = odometry.restarted and self._last.pop(WORLD, None) is not None
        if odometry.lost or begins:
            text = 'the pose is not known' if odometry.lost else 'the trajectory begins anew'
            self._log('log', rr.TextLog(text, level='WARN'))
        if not odometry.lost:
            self._pose(WORLD, odometry.T_world_camera, BLUE)
        if not estimate.still:
            self._images(estimate)
            if not odometry.lost and np.isfinite(estimate.camera.K).all():
                self._clouds(estimate)
        if known is not None:
            self._known(estimate, known)

    def align(self, found: Similarity) -> None:
        """Lay the truth over the estimate, and write the error of each position in true units."""
        R, t, scale = found.rotation, found.translation, found.scale
        to_estimate = rr.Transform3D(translation=-t @ R / scale, mat3x3=R.T / scale)
        self._log(TRUTH, to_estimate, static=True)
        stamps = [np.datetime64(stamp, 'ns') for stamp, _, _ in self._positions]
        errors = [np.linalg.norm(scale * R @ x + t - true) for _, x, true in self._positions]
        self._stream.send_columns(
            'plots/position_error',
            indexes=[rr.TimeColumn(TIME, timestamp=stamps)],
            columns=rr.Scalars.columns(scalars=errors),
        )

    def _log(self, path: str, content: rr.AsComponents, *, static: bool = False) -> None:
        self._stream.log(path, content, static=static)

    def _pose(self, root: str, T: NDArray, colour: tuple[int, int, int]) -> None:
        """The camera below `root`, and the way there from where it was."""
        pose = rr.Transform3D(translation=T[:3, 3], mat3x3=T[:3, :3])
        self._log(f'{root}/camera', pose)
        before = self._last.get(root, T[:3, 3])
        self._log(f'{root}/path', rr.LineStrips3D([[before, T[:3, 3]]], colors=[colour]))
        self._last[root] = T[:3, 3]

    def _images(self, estimate: Estimate) -> None:
        camera = estimate.camera
        if np.isfinite(camera.K).all():
            size = camera.width, camera.height
            axes = rr.ViewCoordinates.RDF
            lens = rr.Pinhole(image_from_camera=camera.K, resolution=size, camera_xyz=axes)
            self._log(CAMERA, lens)
        bgr = estimate.maps.rgb[..., ::-1]
        _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        picture = rr.EncodedImage(contents=jpeg.tobytes(), media_type='image/jpeg')
        self._log(f'{CAMERA}/image', picture)
        depth = estimate.maps.depth.astype(np.float16)
        self._log(f'{CAMERA}/depth', rr.DepthImage(depth, meter=1.0))
        moving = (estimate.mask > 0) * np.uint8(MOVING)
        self._log(f'{CAMERA}/moving', rr.SegmentationImage(moving))

    def _clouds(self, estimate: Estimate) -> None:
        T = estimate.odometry.T_world_camera
        for name, most in POINTS.items():
            config = PointsConfig(max_points=most)
            points = cloud(estimate, config, dynamic=name == 'dynamic')
            xyz = np.stack([points[axis] for axis in 'xyz'], 1) @ T[:3, :3].T + T[:3, 3]
            self._log(f'{WORLD}/{name}', rr.Points3D(xyz, colors=colours(points)))
        bodies = estimate.bodies
        boxes = rr.Boxes3D(
            centers=[body.centre for body in bodies],
            sizes=[body.size for body in bodies],
            labels=[f'{b.number}: {np.linalg.norm(b.velocity):.2f}/s' for b in bodies],
            colors=[RED] * len(bodies),
        )
        self._log(f'{WORLD}/bodies', boxes)

    def _known(self, estimate: Estimate, known: Known) -> None:
        T = known.T_world_camera
        if T is not None and np.isfinite(T).all():
            self._pose(TRUTH, T, GREY)
            if not estimate.odometry.lost:
                at = estimate.odometry.T_world_camera[:3, 3]
                self._positions.append((estimate.frame.stamp_ns, at, T[:3, 3]))
        if known.depth is not None:
            self._log('truth/depth', rr.DepthImage(_thin(known.depth, np.float16), meter=1.0))
        if known.mask is not None:
            mask = _thin(known.mask, np.uint8)
            self._log('truth/moving', rr.SegmentationImage(mask * np.uint8(TRULY_MOVING)))
            self._log('plots/moving/true', rr.Scalars(float(known.mask.mean())))


def _thin(image: NDArray, kind: type) -> NDArray:
    """Every n-th pixel of an image (H, W)."""
    step = -(-image.shape[1] // TRUTH_WIDTH)
    return np.ascontiguousarray(image[::step, ::step]).astype(kind)


def blueprint() -> rrb.Blueprint:
    """Initial layout of the viewer: the world on the left, images and curves on the right."""
    past = rrb.TimeRangeBoundary.infinite()
    trail = rrb.TimeRangeBoundary.cursor_relative(seconds=-TRAIL_S)
    now = rrb.TimeRangeBoundary.cursor_relative()
    since = {f'{WORLD}/path': past, f'{TRUTH}/path': past, f'{WORLD}/static': trail}
    ranges = {
        path: [rrb.VisibleTimeRanges([rrb.VisibleTimeRange(TIME, start=start, end=now)])]
        for path, start in since.items()
    }
    world = rrb.Spatial3DView(
        origin=WORLD,
        contents=['$origin/**', f'- {CAMERA}/depth', f'- {CAMERA}/moving'],
        name='World',
        overrides=ranges,
    )
    pictures = rrb.Tabs(
        rrb.Spatial2DView(
            origin=CAMERA, contents=['$origin/image', '$origin/moving'], name='What moves'
        ),
        rrb.Spatial2DView(origin=CAMERA, contents=['$origin/depth'], name='Depth'),
        rrb.Spatial2DView(origin='truth', contents=['$origin/moving'], name='What truly moves'),
        rrb.Spatial2DView(origin='truth', contents=['$origin/depth'], name='True depth'),
    )
    curves = rrb.Tabs(
        rrb.TimeSeriesView(origin='plots/milliseconds', name='Milliseconds'),
        rrb.TimeSeriesView(origin='plots/moving', name='Share of moving pixels'),
        rrb.TimeSeriesView(origin='plots/position_error', name='Position error'),
        rrb.TextLogView(origin='log', name='Log'),
        rrb.TextDocumentView(origin='about', name='About'),
    )
    return rrb.Blueprint(
        rrb.Horizontal(world, rrb.Vertical(pictures, curves), column_shares=[3, 2]),
        rrb.TimePanel(timeline=TIME),
        collapse_panels=True,
    )
