"""Commands that train networks, and that make training data of recordings."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from page4d_ros.commands.offline import INTERRUPTED, interruptible
from page4d_ros.commands.options import DepthTopic, ImageTopic, MaskTopic, OdomTopic
from page4d_ros.errors import BagError, TrainingError
from page4d_ros.process import use_threads
from page4d_ros.settings import parse_assignment
from page4d_ros.share import share_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from page4d_ros.training.log import Log
    from page4d_ros.training.trainer import Trainer
    from page4d_ros.truth import GroundTruthFrame

EVERY_S = 30.0  # seconds between lines of progress where stderr is not a terminal
SMOOTH = 0.95
SHOWN = ('abs_rel', 'rotation_deg', 'translation', 'mask_ap')


def train(
    recipe: Annotated[
        str,
        Argument(help='tiny, places, small, distill, finetune, or a YAML file such as theirs.'),
    ],
    *,
    output: Annotated[
        Path, Option('--output', '-o', help='Folder of the run; one that was stopped goes on.')
    ],
    set_: Annotated[
        list[str] | None,
        Option(
            '--set',
            metavar='NAME=VALUE',
            help='A setting such as data.train=shards/train; repeat it. A run that goes on takes '
            'other folders and more steps, over which the learning rates are spread anew.',
        ),
    ] = None,
    device: Annotated[
        str, Option(help='cuda, cuda:N, cpu, or auto: CUDA where there is one.')
    ] = 'auto',
    threads: Annotated[int, Option(min=0, help='Of the CPU.', show_default='one a free core')] = 0,
) -> None:
    """Train a network by a recipe; Ctrl-C saves, and the same command goes on."""
    from page4d_ros.training.log import Log
    from page4d_ros.training.recipe import load_recipe
    from page4d_ros.training.trainer import WEIGHTS, Trainer

    values = dict(parse_assignment(text) for text in set_ or [])
    settings = load_recipe(_recipe_file(recipe), values)
    chosen = _device(device)
    use_threads(threads)
    output = output.expanduser()
    trainer = Trainer(settings, output, str(chosen))
    log = Log(output, after=trainer.step)
    if not log.boarded:
        _say('TensorBoard is not installed; losses and metrics go to metrics.jsonl only')
    with contextlib.closing(log):
        begun = trainer.step
        if begun:
            _say(f'{output} goes on after step {begun} of {settings.steps}')
        done = begun >= settings.steps or _run(trainer, log)
    if done and begun == trainer.step:
        _say('all its steps are done; more need --set steps=N')
    print(f'step       {trainer.step} of {settings.steps}')
    for name, value in log.last.items():
        before = f'{log.before[name]:>9.4g}  ->' if name in log.before else ''
        print(f'{name:<20}{before} {value:.4g}')
    print(f'weights    {output / WEIGHTS}')
    if not done:
        _say('stopped; everything is saved, and the same command goes on')
        raise typer.Exit(INTERRUPTED)


def shards_from(
    recording: Annotated[Path, Argument(help='rosbag1, rosbag2 folder, .mcap or .db3.')],
    *,
    output: Annotated[Path, Option('--output', '-o', help='Folder that receives the shards.')],
    image_topic: ImageTopic = '',
    depth_topic: DepthTopic = '',
    odom_topic: OdomTopic = '',
    mask_topic: MaskTopic = '',
    frames: Annotated[int, Option(min=2, help='Per shard.')] = 20,
    stride: Annotated[int, Option(min=1, help='Take every n-th image.')] = 1,
    width: Annotated[
        int | None, Option(min=16, help='In pixels.', show_default="the images' own")
    ] = None,
    force: Annotated[bool, Option('--force', help='Replace shards of the same name.')] = False,
) -> None:
    """Make training shards of a recording with ground truth, or with depth and odometry."""
    from page4d_ros.datasets.bag import Topics, read
    from page4d_ros.synthetic.shards import recording_shard, recording_shards

    name, output = recording.expanduser().resolve().stem, output.expanduser()
    older = recording_shards(output, name)
    if older and not force:
        raise BagError(f'{output}: has shards of {name}; add --force to replace them')
    topics = Topics(image_topic, odom_topic, depth_topic, mask_topic)
    sequence = read(recording, topics, complete=True, width=width, stride=stride)
    for path in older:
        path.unlink()
    count, rest, damaged = 0, 0, []
    masked = False
    for part in _parts(sequence.frames(skip=damaged.append), frames):
        if len(part) == frames:
            _save(recording_shard(output, name, count), part, name, sequence.topic)
            camera, masked = part[0].camera, part[0].mask is not None
            count += 1
        else:
            rest = len(part)
    reasons = sequence.left_out | ({'damaged': len(damaged)} if damaged else {})
    without = [*sequence.remarks, *(f'{number} images: {why}' for why, number in reasons.items())]
    without += [f'the last {rest} images: fewer than {frames}'] if rest else []
    without += [] if masked or not count else ['no masks: what moves is unknown']
    for text in without:
        _say(text)
    if not count:
        raise BagError(f'{recording}: not enough images with depth and pose for one shard')
    print(f'{output}: {count} shards of {frames} frames, {camera.width}x{camera.height} pixels')


def calibrate(
    checkpoint: Annotated[str, Argument(help='A weight file, or "page4d-small".')],
    *,
    shards: Annotated[Path, Option(help='Folder of drives that the weights were not trained on.')],
    output: Annotated[
        Path | None,
        Option('--output', '-o', help='File to write.', show_default='beside the weights'),
    ] = None,
    gram: Annotated[
        bool, Option('--gram', help='Let the fusion read Gram statistics, too; slower.')
    ] = False,
    set_: Annotated[
        list[str] | None, Option('--set', help='NAME=VALUE of a parameter; repeat it.')
    ] = None,
) -> None:
    """Fit the motion classifier of a weight file on drives with motion masks."""
    from rich.console import Console
    from rich.progress import Progress

    from page4d_ros.config import Config
    from page4d_ros.evaluation.methods.motion_sources import Panel
    from page4d_ros.perception.build import UNTRAINED, build_engine, classifier_file, digest
    from page4d_ros.training.motion_calibration import ROUNDS, STEPS, fit_classifier
    from page4d_ros.training.window_sampling import find_shards

    values = {'window.stride': 1, 'model.checkpoint': checkpoint}
    values |= dict(parse_assignment(text) for text in set_ or [])
    config = Config().with_values(values)
    if config.model.checkpoint == UNTRAINED and output is None:
        raise TrainingError('untrained weights have no file to write beside; give --output')
    found = find_shards(shards.expanduser())
    engine = build_engine(config)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        streams = (len(range(0, s.frames, n)) for s in found if s.masked for n in STEPS)
        total = ROUNDS * sum(streams)
        task = bar.add_task('frames', total=total)
        panel = partial(Panel, ask_all=True)
        fitted = fit_classifier(
            engine, config, found, panel, gram=gram, progress=lambda: bar.advance(task)
        )
    if config.model.checkpoint != UNTRAINED:
        known = {'sha256': digest(config.model.checkpoint)}
        fitted = replace(fitted, facts={**fitted.facts, **known})
    path = output.expanduser() if output else classifier_file(config.model.checkpoint)
    fitted.write(path)
    for source, coefficients in fitted.sources.items():
        terms = ', '.join(f'{name} {value:.3g}' for name, value in coefficients.items())
        print(f'{source:<10} {terms}')
    print(path)


def average(
    first: Annotated[str, Argument(help='A weight file, or "page4d-small".')],
    second: Annotated[str, Argument(help='Weights that were trained on from the first.')],
    *,
    output: Annotated[Path, Option('--output', '-o', help='File to write (.safetensors).')],
    share: Annotated[
        float, Option(min=0, max=1, help='Of the second in the mean; the first has the rest.')
    ] = 0.5,
    name: Annotated[str, Option(help='Of the mean.', show_default="the second's")] = '',
    purpose: Annotated[
        str,
        Option(help='Completes "weights NAME are for".', show_default="the second's"),
    ] = '',
    confidence_shift: Annotated[
        float, Option(help="Add it to log(c - 1) of the depth's confidence c.")
    ] = 0.0,
    half: Annotated[bool, Option('--half', help='Write 16 bits.')] = False,
) -> None:
    """Mean of two networks' weights: what the second learnt, and most of what the first knew."""
    from page4d_ros.perception.build import weight_file
    from page4d_ros.training.mean import Mean, write_mean

    output = output.expanduser()
    mean = Mean(share, confidence_shift, half, name, purpose)
    write_mean(weight_file(first), weight_file(second), output, mean)
    print(output)


def _recipe_file(name: str) -> Path:
    """Path of a shipped recipe by its name, or of any recipe by its path."""
    path = Path(name).expanduser()
    if path.suffix or len(path.parts) > 1 or path.is_file():
        return path
    root = share_file('config/training/tiny.yaml').parent
    path = root / f'{name}.yaml'
    if not path.is_file():
        names = ', '.join(sorted(p.stem for p in root.glob('*.yaml')))
        raise TrainingError(f'no recipe {name!r}; there are {names}, or name a YAML file')
    return path


def _device(name: str) -> torch.device:
    import torch

    cuda = torch.cuda.is_available()
    try:
        device = torch.device(('cuda' if cuda else 'cpu') if name == 'auto' else name)
    except RuntimeError as error:
        raise TrainingError(f'--device {name}: take auto, cpu, cuda or cuda:N') from error
    if device.type == 'cuda' and not (cuda and (device.index or 0) < torch.cuda.device_count()):
        raise TrainingError(f'--device {name}: there is no such GPU, or torch is built without')
    return device


def _run(trainer: Trainer, log: Log) -> bool:
    """Train and show the progress; false if the run was stopped."""
    import torch

    with interruptible() as stopped, _Progress(trainer, log) as progress:
        try:
            return trainer.run(log, stopped=stopped, progress=progress)
        except torch.cuda.OutOfMemoryError as error:
            raise TrainingError(
                'the GPU has too little memory; set accumulate higher, or data.frames_per_batch '
                'lower'
            ) from error


class _Progress:
    """Shows step, loss, last metrics, speed and remaining time on stderr."""

    def __init__(self, trainer: Trainer, log: Log) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        self._trainer, self._log, self._shown = trainer, log, log.last
        self._loss = math.nan
        self._begun = self._said = time.monotonic()
        self._first = trainer.step
        self._console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._terminal = self._console.is_terminal
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(20),
            Remaining(),
            TextColumn('{task.description}'),
            console=self._console,
            transient=True,
            disable=not self._terminal,
        )
        steps = trainer.recipe.steps
        self._task = self._bar.add_task('the first step', total=steps, completed=trainer.step)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, losses: dict[str, float]) -> None:
        """Show a step's loss."""
        loss, now = losses['total'], time.monotonic()
        known = math.isfinite(self._loss)
        self._loss = SMOOTH * self._loss + (1 - SMOOTH) * loss if known else loss
        done, total = self._trainer.step, self._trainer.recipe.steps
        seconds = (now - self._begun) / (done - self._first)
        speed = f'loss {self._loss:.4g}, {seconds:.2f} s a step'
        self._bar.update(self._task, completed=done, description=speed)
        last = self._log.last
        if last is not self._shown:
            self._shown = last
            metrics = ', '.join(f'{name} {last[name]:.3g}' for name in SHOWN if name in last)
            self._console.print(f'page4d: evaluation: {metrics}')
        if not self._terminal and now - self._said >= EVERY_S:
            self._said = now
            left = timedelta(seconds=round(seconds * (total - done)))
            _say(f'step {done} of {total}, {speed}, {left} left')


def _parts(frames: Iterator[GroundTruthFrame], size: int) -> Iterator[list[GroundTruthFrame]]:
    part: list[GroundTruthFrame] = []
    for frame in frames:
        part.append(frame)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part


def _save(path: Path, frames: list[GroundTruthFrame], name: str, topic: str) -> None:
    import numpy as np

    from page4d_ros.synthetic.shards import recording_facts, save_shard

    depth = np.stack([frame.depth for frame in frames])
    known = np.isfinite(depth) & (depth > 0) & (depth < np.finfo(np.float16).max)
    stamps = [frame.stamp_ns for frame in frames]
    arrays = {
        'rgb': np.stack([frame.rgb for frame in frames]),
        'depth': np.where(known, depth, 0).astype(np.float16),
        'T_world_camera': np.stack([frame.T_world_camera for frame in frames]).astype(np.float32),
    }
    if frames[0].mask is not None:
        arrays['mask'] = np.stack([frame.mask for frame in frames]).astype(np.uint8)
    save_shard(path, arrays, recording_facts(name, stamps, frames[0].camera, topic=topic))


def _say(text: str) -> None:
    print(f'page4d: {text}', file=sys.stderr, flush=True)
