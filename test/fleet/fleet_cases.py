"""Small recordings of mixed kinds, whole and broken, and what to compare results by."""

import cv2
import numpy as np
from bags_helpers import camera_messages, mount, write_bag
from fakes import picture
from typer.testing import CliRunner

from page4d_ros.bags.reader import open_bag
from page4d_ros.bags.replay import OFFLINE
from page4d_ros.cli import app
from page4d_ros.config import Config
from page4d_ros.fleet.settings import Job
from page4d_ros.perception.build import digest

SETTINGS = {'window.size': 2, 'model.backend': 'torch', 'points.rate': 1.0}
WORDS = [word for name, value in SETTINGS.items() for word in ('--set', f'{name}={value}')]
FORMATS = ('rosbag1', 'sqlite3', 'mcap')


def page4d(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def annotate(sources, output, *more):
    return page4d('annotate', *sources, '--output', output, *WORDS, *more)


def config(**more):
    return Config().with_values(OFFLINE | SETTINGS | more)


def job(destination, run='test', **options):
    settings = options.pop('config', None) or config()
    return Job(settings, digest('page4d-small'), str(destination), run, **options)


def write_images(folder, count, seed=0):
    folder.mkdir(parents=True)
    for i in range(count):
        cv2.imwrite(str(folder / f'{i:06d}.jpg'), picture(seed + i))
    return folder


def write_video(path, count, seed=0):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (64, 48))
    for i in range(count):
        writer.write(picture(seed + i))
    writer.release()
    return path


def write_good(folder, count, frames=3):
    """So many recordings: rosbags of three formats, a folder of images, a video."""
    made = [write_images(folder / 'images', frames), write_video(folder / 'video.avi', frames)]
    for i in range(count - len(made)):
        form = FORMATS[i % 3]
        name = f'{form}-{i:03d}'
        made.append(write_bag(folder / name, form, camera_messages(frames + i % 2)))
    return made


def write_broken(folder):
    """Recordings, each broken in another way."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'empty.mcap').touch()
    (folder / 'garbage.bag').write_bytes(bytes(range(256)) * 8)
    write_bag(folder / 'without_images', 'mcap', mount())
    lost = write_bag(folder / 'without_data', 'sqlite3', camera_messages(2))
    next(lost.glob('*.db3')).unlink()
    images = folder / 'no_images_in_it'
    images.mkdir()
    for i in range(3):
        (images / f'{i}.jpg').write_bytes(b'not a picture')
    video = write_video(folder / 'cut.avi', 3)
    video.write_bytes(video.read_bytes()[:100])
    names = ('empty.mcap', 'garbage.bag', 'without_images', 'without_data', images.name)
    return [folder / name for name in (*names, 'cut.avi')]


def messages(path):
    """All that a result says, but for the times that the work took."""
    out = []
    with open_bag(path) as bag:
        for topic, log_ns, message in bag.messages(bag.topics()):
            if 'status' not in topic:
                out.append((topic, log_ns, repr_of(message)))
    return sorted(out)


def repr_of(message):
    if isinstance(message, np.ndarray):
        return message.tobytes()
    fields = getattr(message, '__dataclass_fields__', None)
    if fields is None:
        return [repr_of(item) for item in message] if isinstance(message, list) else repr(message)
    return repr([(name, repr_of(getattr(message, name))) for name in fields])
