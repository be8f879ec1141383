"""A training run's settings: one dataclass tree, one YAML file in config/training."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML, YAMLError

from page4d_ros.errors import TrainingError


@dataclass(frozen=True)
class SensorConfig:
    """How pictures are disturbed.

    Attributes:
        exposure: standard deviation of the logarithm of a window's gain.
        flutter: the same of each frame.
        colour: the same of each channel.
        gamma: the same of the exponent.
        noise: largest standard deviation of noise, in units of white.
        blur: largest standard deviation of blur, in pixels.
        blur_share: fraction of windows that are blurred.
    """

    exposure: float = 0.2
    flutter: float = 0.02
    colour: float = 0.05
    gamma: float = 0.1
    noise: float = 0.03
    blur: float = 0.8
    blur_share: float = 0.3


@dataclass(frozen=True)
class DataConfig:
    """Windows that one step sees.

    Attributes:
        train: folder of shards to learn from.
        validation: folder of shards to watch; empty watches none.
        width: of the network's images in pixels, whole patches.
        height: of the network's images in pixels, whole patches.
        fov_x_deg: horizontal field of view of a view without zoom.
        frames_per_batch: views in a batch, however long its windows are.
        window_sizes: how often a batch has windows of each length.
        ordered: fraction of windows in order of time.
        mixed: fraction of windows whose views come from any drives of one room; what moves in
            them is unknown. For networks that learn in the room's gauge.
        backwards: fraction of windows that are reversed.
        max_stride: largest step between the frames of a window in order.
        turn_deg: views are turned by up to this about each axis.
        shake_deg: standard deviation of each view's own turn.
        zoom: focal lengths vary by this fraction.
        workers: processes that prepare batches.
    """

    train: str = 'shards/train'
    validation: str = 'shards/validation'
    width: int = 112
    height: int = 84
    fov_x_deg: float = 60.0
    frames_per_batch: int = 32
    window_sizes: dict[int, float] = field(
        default_factory=lambda: {1: 0.05, 2: 0.1, 3: 0.1, 4: 0.5, 6: 0.15, 8: 0.1}
    )
    ordered: float = 0.6
    mixed: float = 0.0
    backwards: float = 0.5
    max_stride: int = 4
    turn_deg: float = 5.0
    shake_deg: float = 0.5
    zoom: float = 0.05
    workers: int = 1
    sensor: SensorConfig = field(default_factory=SensorConfig)


@dataclass(frozen=True)
class LossConfig:
    """What is learnt, and how much each part weighs; 0 leaves a part out.

    Attributes:
        gauge: frame of the poses: ``first_camera`` with the mean distance as the unit (published),
            ``first_camera_metres``, or ``scene``, the frame and the metres of the room, where
            rooms are known.
        length_unit: lengths count in this unit.
        either_sign: a quaternion and its negative are the same answer.
        camera: pose encodings.
        relative: poses between the views of a window, in units of the gauge.
        depth: depth, its confidence and its gradients.
        points: points, their confidence and their normals, of a network with a point head.
        motion: cross-entropy of the mask head against exact masks; none in the published training.
        camera_tokens: place and axes of each camera, read off its token after every block by
            auxiliary layers that are not kept.
        coordinates: place of each patch, by an auxiliary layer that is not kept.
        correspondence: where each patch is in the first view, likewise.
        attention: cross-entropy of a global head against that place.
        attention_blocks: whose first head learns so; a network from scratch finds its poses then.
        dense_stride: a step learns depth and points of every n-th view only, in turn.
    """

    gauge: str = 'first_camera'
    length_unit: float = 1.0
    either_sign: bool = False
    camera: float = 5.0
    relative: float = 0.0
    depth: float = 1.0
    points: float = 1.0
    motion: float = 0.0
    camera_tokens: float = 0.0
    coordinates: float = 0.0
    correspondence: float = 0.0
    attention: float = 0.0
    attention_blocks: tuple[int, ...] = (1, 2)
    dense_stride: int = 1


@dataclass(frozen=True)
class MaskConfig:
    """The mask's bias in attention while training.

    Attributes:
        hold_start: steps during which the bias is whole.
        hold_end: step from which on it is gone; between them it fades along a cosine.
        detached: whether the mask head's gradient stops before the tokens.
    """

    hold_start: int = 6000
    hold_end: int = 10000
    detached: bool = True


@dataclass(frozen=True)
class GroupConfig:
    """Parameters that are trained alike.

    Attributes:
        parameters: patterns of their names, such as ``aggregator.frame_blocks.1[0-9].*``.
        lr: highest learning rate.
        lr_ends: learning rate before the warm-up and at the end.
        warmup: fraction of the run until `lr` is reached.
        hold: fraction of the run from which on the rate falls.
        fall: shape of the fall, ``cosine`` or ``linear``.
        weight_decay: of AdamW.
    """

    parameters: tuple[str, ...] = ('*',)
    lr: float = 1e-5
    lr_ends: float = 1e-8
    warmup: float = 0.05
    hold: float = 0.05
    fall: str = 'cosine'
    weight_decay: float = 0.01


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out of a run.

    Attributes:
        name: what the weights are called.
        purpose: what they are for, in words that complete "weights NAME are for"; the node and
            every report show them. Empty for weights that need no such warning.
        half: write the weights to use in 16 bits, at half the size; a run goes on in 32.
        network: ``tiny`` or ``published`` sizes.
        weights: file to begin with, whose sizes count then; empty begins with random numbers.
        seed: of weights and data.
        steps: optimiser steps.
        accumulate: parts that a batch is cut into; one step follows all of them.
        clip: largest norm of the gradient.
        clip_parts: clip each part of the network by itself, as published, or all together.
        betas: of AdamW.
        ema: decay of the average of weights that is kept; 0 keeps the last weights.
        precision: ``fp32`` or ``bf16`` (autocast).
        evaluate_every: steps between evaluations.
        save_every: steps between saved states.
        groups: what is trained; all else is frozen.
    """

    name: str = 'page4d'
    purpose: str = ''
    half: bool = False
    network: str = 'published'
    weights: str = ''
    seed: int = 0
    steps: int = 1000
    accumulate: int = 1
    clip: float = 1.0
    clip_parts: bool = True
    betas: tuple[float, float] = (0.9, 0.999)
    ema: float = 0.0
    precision: str = 'bf16'
    evaluate_every: int = 500
    save_every: int = 100
    groups: tuple[GroupConfig, ...] = (GroupConfig(),)
    loss: LossConfig = field(default_factory=LossConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    data: DataConfig = field(default_factory=DataConfig)


CHOICES = {
    'network': ('tiny', 'published'),
    'precision': ('fp32', 'bf16'),
    'gauge': ('first_camera', 'first_camera_metres', 'scene'),
    'fall': ('cosine', 'linear'),
}
# Numbers are not negative; some have narrower bounds.
LOWEST = dict.fromkeys(
    ('steps', 'accumulate', 'evaluate_every', 'save_every', 'frames_per_batch', 'max_stride'), 1
) | {'width': 1, 'height': 1, 'dense_stride': 1, 'clip': 1e-9, 'length_unit': 1e-9, 'fov_x_deg': 1}
SHARES = ('ordered', 'backwards', 'mixed', 'blur_share', 'warmup', 'hold', 'ema')
HIGHEST = dict.fromkeys(SHARES, 1) | {'fov_x_deg': 179, 'zoom': 0.9}
HIGHEST |= {'turn_deg': 45, 'shake_deg': 45}
# What may differ when a run goes on: the rest decides what every step does.
CHANGEABLE = (
    'purpose',
    'half',
    'steps',
    'evaluate_every',
    'save_every',
    'data.train',
    'data.validation',
    'data.workers',
)


def load_recipe(path: Path | str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file whose tree is that of `Recipe`.
        overrides: values by dotted name, such as ``{'data.train': 'shards'}``.

    Raises:
        TrainingError: the file is missing or no YAML, or names or values are wrong.
    """
    try:
        tree = YAML(typ='safe').load(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise TrainingError(f'{path}: no such recipe ({error.strerror})') from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f'{path}: is no YAML ({_line(error)})') from error
    tree = {} if tree is None else tree
    for name, value in (overrides or {}).items():
        *above, last = name.split('.')
        branch = tree
        for key in above:
            branch = branch.setdefault(key, {}) if isinstance(branch, dict) else None
        if not isinstance(branch, dict):
            raise TrainingError(f'{path}: no setting {name}')
        branch[last] = value
    return read_recipe(tree, str(path))


def read_recipe(tree: Any, where: str) -> Recipe:
    """The recipe of a tree of plain dictionaries and lists.

    Args:
        tree: what is named counts, the rest is default.
        where: what it comes from, for messages.

    Raises:
        TrainingError: names or values are wrong.
    """
    return _build(Recipe(), tree, where)


def recipe_tree(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain dictionaries and lists."""
    return asdict(recipe)


def differences(one: Any, other: Any, prefix: str = '') -> list[str]:
    """Dotted names in which two recipes differ, but for what is CHANGEABLE."""
    out = []
    for name in (f.name for f in fields(one)):
        a, b = getattr(one, name), getattr(other, name)
        if prefix + name in CHANGEABLE:
            continue
        if is_dataclass(a):
            out += differences(a, b, f'{prefix}{name}.')
        elif a != b:
            out.append(prefix + name)
    return out


def _build(default: Any, tree: Any, where: str) -> Any:
    """The dataclass `default` with the values of a tree."""
    if not isinstance(tree, dict):
        raise TrainingError(f'{where}: expected settings by name, not {tree!r}')
    known = {f.name: getattr(default, f.name) for f in fields(default)}
    unknown = sorted(map(str, tree.keys() - known.keys()))
    if unknown:
        raise TrainingError(
            f'{where}: no setting {", ".join(unknown)}; there are {", ".join(sorted(known))}'
        )
    values = {}
    for name, value in tree.items():
        here, old = f'{where}: {name}', known[name]
        if is_dataclass(old):
            values[name] = _build(old, value, here)
        elif name == 'groups':
            values[name] = _groups(value, here)
        else:
            values[name] = _convert(name, old, value, here)
    return replace(default, **values)


def _groups(value: Any, where: str) -> tuple[GroupConfig, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise TrainingError(f'{where} must be a list of groups, not {value!r}')
    groups = tuple(_build(GroupConfig(), group, where) for group in value)
    for group in groups:
        if group.hold < group.warmup:
            raise TrainingError(
                f'{where}: hold {group.hold} ends before warmup {group.warmup}; make it as long'
            )
    return groups


def _convert(name: str, old: Any, value: Any, where: str) -> Any:
    """A value of the type of the default `old`, within its bounds."""
    if name in CHOICES and value not in CHOICES[name]:
        raise TrainingError(f'{where} is {value!r}; take one of {", ".join(CHOICES[name])}')
    if name in SPECIAL:
        fits, wanted = SPECIAL[name]
        if not fits(value):
            raise TrainingError(f'{where} must be {wanted}, not {value!r}')
        return tuple(value) if isinstance(old, tuple) else value
    if isinstance(old, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(old):
        raise TrainingError(f'{where} must be a {type(old).__name__}, not {value!r}')
    if _is_number(value):
        low, high = LOWEST.get(name, 0), HIGHEST.get(name, math.inf)
        if not (low <= value <= high and math.isfinite(value)):
            raise TrainingError(f'{where} is {value}, outside [{low}, {high}]')
    return value


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


def _are_betas(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2
    return pair and all(_is_number(beta) and 0 <= beta < 1 for beta in value)


def _are_patterns(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(type(p) is str for p in value)


def _are_sizes(value: Any) -> bool:
    if not isinstance(value, dict) or not all(type(n) is int and n > 0 for n in value):
        return False
    odds = list(value.values())
    return all(_is_number(p) and 0 <= p < math.inf for p in odds) and sum(odds) > 0


def _is_index(value: Any) -> bool:
    return type(value) is int and value >= 0


def _are_blocks(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_index, value))


SPECIAL = {
    'attention_blocks': (_are_blocks, 'a list of numbers of blocks, such as [1, 2]'),
    'betas': (_are_betas, 'two numbers below 1'),
    'parameters': (_are_patterns, 'a list of names, in which * stands for anything'),
    'window_sizes': (_are_sizes, 'odds by length, such as {2: 0.5, 4: 0.5}'),
}


def _line(error: Exception) -> str:
    """An error's message on one line."""
    return ' '.join(str(error).split())
