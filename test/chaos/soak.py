"""Lets the node run at camera rate for minutes, and measures what grows."""

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from scipy import stats

from chaos.world import World, environment

EVERY = 1.0  # seconds between samples
SETTLING = 0.2  # fraction of the time at the beginning that counts for no slope
BLOCKS = 20  # means of so many parts: neighbouring samples are not independent
GROWTH = 1.0  # MiB per minute whose memory grows for certain
SERIES = {
    'rss_mib': 'resident memory, MiB',
    'descriptors': 'file descriptors',
    'threads': 'threads',
    'shared_mib': 'its shared memory, MiB',
    'latency_s': 'age of the image at its pose, s',
}


def sample(world):
    """What the node holds at this moment."""
    proc = Path('/proc', str(world.node.process.pid))
    shared = 0
    for path in world.node.segments():
        with contextlib.suppress(OSError):
            shared += path.stat().st_size
    return {
        'rss_mib': world.node.rss_mib(),
        'descriptors': len(list((proc / 'fd').iterdir())),
        'threads': len(list((proc / 'task').iterdir())),
        'shared_mib': shared / 2**20,
        'latency_s': world.watch.status.frame_age if world.watch.status else np.nan,
    }


def slope(seconds, values):
    """Slope per minute, and half its 95 % interval, of the means of `BLOCKS` parts."""
    seconds, values = (np.asarray(each, float) for each in (seconds, values))
    kept = seconds >= seconds[0] + SETTLING * (seconds[-1] - seconds[0])
    parts = min(BLOCKS, int(kept.sum()) // 2)
    if parts < 3:
        raise ValueError(f'{len(seconds)} samples are too few for a slope')
    x, y = (
        [part.mean() for part in np.array_split(each[kept], parts)] for each in (seconds, values)
    )
    line = stats.linregress(np.array(x) / 60, y)
    doubt = stats.t.ppf(0.975, parts - 2) * np.nan_to_num(line.stderr)  # NaN of a constant
    return float(line.slope), float(doubt)


def soak(minutes, say=print):
    """Samples of a node that runs so long, and what it did wrong meanwhile."""
    samples, problems = [], Counter()
    with contextlib.closing(World(Path(tempfile.mkdtemp(prefix='soak_')))) as world:
        world.start()
        begin, due = time.monotonic(), time.monotonic()
        while (now := time.monotonic()) < begin + 60 * minutes:
            if not world.node.alive:
                problems[f'the node ended: {world.node.tail()}'] += 1
                break
            samples.append({'seconds': now - begin} | sample(world))
            problems.update(world.watch.problems)
            world.watch.clear()
            world.camera.sent = prune(world)
            if len(samples) % 60 == 1:
                say(f'{(now - begin) / 60:5.1f} min  {samples[-1]}', flush=True)
            due += EVERY
            time.sleep(max(0.0, due - time.monotonic()))
        counts = dict(world.watch.counts)
    return samples, problems, counts


def prune(world):
    """The tester forgets images of more than a minute ago, and not the node's memory grows."""
    old = time.monotonic() - 60
    for stamp in [stamp for stamp, sent in list(world.camera.sent.items()) if sent < old]:
        del world.camera.sent[stamp]
    return world.camera.sent


def plot(samples, slopes, path):
    """Draw all series."""
    import matplotlib as mpl

    mpl.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(SERIES), sharex=True, figsize=(8, 10))
    minutes = [item['seconds'] / 60 for item in samples]
    for axis, (name, title) in zip(axes, SERIES.items(), strict=True):
        axis.plot(minutes, [item[name] for item in samples], linewidth=0.8)
        change, half = slopes[name]
        axis.set_title(f'{title}: {change:+.3g} ± {half:.2g} per minute', fontsize=9)
    axes[-1].set_xlabel('minutes')
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main():
    """Soak as the command line says; returns 1 if the node ended, did wrong, or grows."""
    parser = argparse.ArgumentParser(prog='soak', description=__doc__)
    parser.add_argument('--minutes', type=float, default=10.0, help='(default: 10)')
    parser.add_argument('--output', type=Path, default=Path('soak'), help='folder')
    options = parser.parse_args()
    environment()
    samples, problems, counts = soak(options.minutes)
    slopes = {name: slope([s['seconds'] for s in samples], [s[name] for s in samples])
              for name in SERIES}  # fmt: skip
    options.output.mkdir(exist_ok=True)
    facts = {'minutes': options.minutes, 'slopes per minute': slopes, 'problems': problems}
    facts |= {'messages checked': counts, 'samples': samples}
    (options.output / 'soak.json').write_text(json.dumps(facts, indent=1))
    plot(samples, slopes, options.output / 'soak.png')
    for name, title in SERIES.items():
        values, (change, half) = [item[name] for item in samples], slopes[name]
        print(
            f'{title:34s} {values[0]:8.3f} first {np.nanmedian(values):8.3f} median '
            f'{np.nanmax(values):8.3f} most {change:+9.4f} ± {half:.4f} per minute'
        )
    for text, count in problems.items():
        print(f'{text} ({count} x)')
    change, half = slopes['rss_mib']
    return 1 if problems or change - half > GROWTH else 0


if __name__ == '__main__':
    sys.exit(main())
