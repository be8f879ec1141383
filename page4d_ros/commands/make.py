"""Commands that make recordings with ground truth."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

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
    from page4d_ros.bags.tum import import_tum as run

    done = run(folder, output, camera.value, force=force)
    missing = f'; {done.missing} listed files are not there' if done.missing else ''
    print(
        f'{output}: {done.images} images, {done.depths} depth images, {done.poses} poses{missing}'
    )


def render(
    *,
    output: Output,
    room_seed: Annotated[int, Option(help='Seed of the room.')] = 1,
    drive_seed: Annotated[int, Option(help='Seed of the drive through it.')] = 4,
    frames: Annotated[int, Option(min=1, help='How many.')] = 60,
    rate: Annotated[float, Option(min=0.1, help='Frames per second.')] = 15.0,
    width: Annotated[int, Option(min=16, help='In pixels.')] = 320,
    height: Annotated[int, Option(min=16, help='In pixels.')] = 240,
    compressed: Annotated[bool, Option(help='JPEG images instead of raw ones.')] = False,
    force: Force = False,
) -> None:
    """Render a drive through a room with moving bodies, with ground truth."""
    from page4d_ros.bags.clip import write_clip
    from page4d_ros.synthetic.render import T_base_camera, render_clip

    clip = render_clip(room_seed, drive_seed, frames, rate, width, height)
    count = write_clip(clip, output, T_base_camera, compressed=compressed, force=force)
    print(f'{output}: {count} frames of {width}x{height} pixels')
