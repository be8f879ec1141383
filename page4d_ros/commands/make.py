"""Commands that make recordings and training data with ground truth."""

from __future__ import annotations

import contextlib
import sys
import time
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.options import Rig, ShardFormat, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LAYOUT = ShardFormat()
EVERY_S = 10.0  # seconds between lines about the progress, where there is no terminal

Force = Annotated[bool, Option('--force', help='Replace a recording that is there.')]
Output = Annotated[Path, Option('--output', '-o', help='Folder to make (rosbag2, MCAP).')]


class Kinect(str, Enum):
    """Cameras of the TUM RGB-D benchmark."""

    freiburg1 = 'freiburg1'
    freiburg2 = 'freiburg2'
    freiburg3 = 'freiburg3'


def import_tum(
    folder: Annotated[Path, Argument(help='Folder with rgb.txt, depth.txt, groundtruth.txt.')],
    *,
    output: Output,
    camera: Annotated[Kinect, Option(help='Whose calibration.')] = Kinect.freiburg1,
    force: Force = False,
) -> None:
    """Make a recording of a TUM RGB-D sequence, with ground truth."""
    from page4d_ros.datasets.tum_recording import import_tum as run

    done = run(folder, output, camera.value, force=force)
    missing = f'; {done.missing} listed files are not there' if done.missing else ''
    print(
        f'{output}: {done.images} images, {done.depths} depth images, {done.poses} poses{missing}'
    )


def render(
    *,
    output: Output,
    room_seed: Annotated[
        int, Option(min=0, help='Seed of the room; from 100000 on, of a place of any kind.')
    ] = 1,
    drive_seed: Annotated[int, Option(min=0, help='Seed of the drive through it.')] = 5,
    rig: Annotated[Rig, Option(help='What carries the camera.')] = Rig.HANDHELD,
    camera: Annotated[
        list[str] | None,
        Option(
            metavar='NAME[=YAW,LEFT[,DELAY]]',
            help='A camera of a rig, once for each, the first one as NAME alone: degrees and '
            'metres to the left of the first, and milliseconds after it.',
            show_default='one without a name',
        ),
    ] = None,
    traffic: Annotated[Traffic, Option(help='How much moves.')] = Traffic.SOME,
    seconds: Annotated[
        float, Option(min=0.1, help='Length of the whole drive; more traffic fits a shorter one.')
    ] = 20.0,
    frames: Annotated[int, Option(min=1, help='How many, from its beginning.')] = 60,
    rate: Annotated[float, Option(min=0.1, help='Frames per second.')] = 15.0,
    width: Annotated[int, Option(min=16, help='In pixels.')] = 320,
    height: Annotated[int, Option(min=16, help='In pixels.')] = 240,
    compressed: Annotated[bool, Option(help='JPEG images instead of raw ones.')] = False,
    force: Force = False,
) -> None:
    """Render a drive through a room with moving bodies, with ground truth."""
    from page4d_ros.bags.rendered import write_rig
    from page4d_ros.synthetic.render import T_base_camera, render_rig
    from page4d_ros.synthetic.rig import parse_rig

    cameras = parse_rig(camera or [])
    rendered = render_rig(
        cameras,
        room_seed,
        drive_seed,
        frames,
        rate,
        width,
        height,
        rig=rig,
        traffic=traffic,
        seconds=seconds,
    )
    views = ((each.name, frame) for each, frame in rendered)
    mounts = {each.name: T_base_camera @ each.T_main_camera for each in cameras}
    count = write_rig(views, output, mounts, compressed=compressed, force=force)
    print(f'{output}: {count} frames of {width}x{height} pixels')


def shards(
    *,
    output: Annotated[Path, Option('--output', '-o', help='Folder of this split.')],
    split: Annotated[str, Option(help='train, validation or test; they share no drive.')],
    rooms: Annotated[str, Option(help='Seeds of living rooms, such as 1,2 or 1000-1999.')] = '',
    places: Annotated[int, Option(min=0, help='Number of places of any kind.')] = 0,
    drives: Annotated[int, Option(help='How many through each room or place.')] = 1,
    frames: Annotated[int, Option(min=1, help='Per drive.')] = LAYOUT.frames,
    rate: Annotated[float, Option(min=0.1, help='Frames per second.')] = LAYOUT.rate_hz,
    width: Annotated[int, Option(min=16, help='In pixels.')] = LAYOUT.width,
    height: Annotated[int, Option(min=16, help='In pixels.')] = LAYOUT.height,
    fov: Annotated[
        float,
        Option(min=0, max=150, help='Horizontal field of view in degrees; 0 draws one per drive.'),
    ] = LAYOUT.fov_x_deg,
    processes: Annotated[
        int | None, Option(min=1, help='Renderers side by side.', show_default='one a core')
    ] = None,
) -> None:
    """Render drives to train on, a file each; what is there already is kept."""
    from page4d_ros.synthetic.shards import SPLITS, render_shards

    first = SPLITS.get(split, 0)
    seeds = [*_seeds(rooms), *range(first, first + places)]
    layout = ShardFormat(width, height, fov, frames, rate)
    rendering = render_shards(
        output, split=split, rooms=seeds, drives=drives, layout=layout, processes=processes
    )
    total = len(seeds) * drives
    with contextlib.closing(rendering):
        sizes = [path.stat().st_size for path in _shown(rendering, total)]
    print(
        f'{output}: {len(sizes)} shards, {len(sizes) * frames} frames, '
        f'{sum(sizes) / 1e6:.1f} MB; {total - len(sizes)} drives did not fit into their rooms'
    )


def _seeds(text: str) -> list[int]:
    """Seeds of ``1,2,10-19``, each once."""
    seeds: dict[int, None] = {}
    try:
        for word in filter(str.strip, text.split(',')):
            first, _, last = word.partition('-')
            seeds |= dict.fromkeys(range(int(first), int(last or first) + 1))
        return list(seeds)
    except ValueError as error:
        raise SceneError(
            f'--rooms {text}: expected numbers, such as --rooms 1,2 or 1000-1999'
        ) from error


def _shown(paths: Iterable[Path], total: int) -> Iterator[Path]:
    """Pass the paths on with a bar, or with a line now and then, on stderr."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    said = time.monotonic()
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task('shards', total=total)
        for count, path in enumerate(paths, 1):
            bar.update(task, completed=count)
            if not console.is_terminal and time.monotonic() - said >= EVERY_S:
                said = time.monotonic()
                print(f'page4d: {count} of {total} shards', file=sys.stderr, flush=True)
            yield path
