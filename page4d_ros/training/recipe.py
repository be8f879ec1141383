"""Settings of a training run: one tree, one YAML file in config/training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from page4d_ros.errors import ConfigError, TrainingError
from page4d_ros.settings import Settings, read_yaml, setting


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


def _check_betas(value: Any) -> str:
    pair = isinstance(value, tuple) and len(value) == 2
    fits = pair and all(_is_number(beta) and 0 <= beta < 1 for beta in value)
    return '' if fits else f'expected two numbers below 1, got {value!r}'


def _check_patterns(value: Any) -> str:
    fits = isinstance(value, tuple) and bool(value) and all(type(p) is str for p in value)
    return '' if fits else f'expected a list of names, in which * matches anything, got {value!r}'


def _check_window_sizes(value: Any) -> str:
    sizes = isinstance(value, dict) and all(type(n) is int and n > 0 for n in value)
    odds = list(value.values()) if sizes else []
    numbers = all(_is_number(p) and 0 <= p < math.inf for p in odds)
    fits = sizes and numbers and sum(odds) > 0
    return '' if fits else f'expected odds by length, such as {{2: 0.5, 4: 0.5}}, got {value!r}'


def _check_blocks(value: Any) -> str:
    numbers = isinstance(value, tuple) and all(type(n) is int and n >= 0 for n in value)
    return '' if numbers and value else f'expected block numbers, such as [1, 2], got {value!r}'


@dataclass(frozen=True)
class AugmentationConfig(Settings):
    """Random changes of the images: exposure, colour, noise and blur."""

    exposure: float = setting(
        0.2, "Standard deviation of the logarithm of a window's gain.", low=0
    )
    flutter: float = setting(0.02, "Standard deviation of the logarithm of a frame's gain.", low=0)
    colour: float = setting(
        0.05, "Standard deviation of the logarithm of a channel's gain.", low=0
    )
    gamma: float = setting(0.1, 'Standard deviation of the logarithm of the exponent.', low=0)
    noise: float = setting(
        0.03, 'Largest standard deviation of noise, as a fraction of white.', low=0
    )
    blur: float = setting(0.8, 'Largest standard deviation of blur, in pixels.', low=0)
    blur_share: float = setting(0.3, 'Fraction of windows that are blurred.', low=0, high=1)


@dataclass(frozen=True)
class DataConfig(Settings):
    """Shards, and the windows that are drawn from them for one step."""

    train: str = setting('shards/train', 'Folder of shards to train on.', dynamic=True)
    validation: str = setting(
        'shards/validation', 'Folder of shards to validate on; empty validates none.', dynamic=True
    )
    rehearsal: str = setting(
        '',
        'Folder of further shards, of what must not be forgotten; empty takes none.',
        dynamic=True,
    )
    rehearsal_share: float = setting(
        0.5, 'Fraction of windows that come from rehearsal.', low=0, high=1
    )
    width: int = setting(112, 'Width of the network input in pixels, whole patches.', low=1)
    height: int = setting(84, 'Height of the network input in pixels, whole patches.', low=1)
    fov_x_deg: float = setting(
        60.0,
        'Horizontal field of view without zoom, in degrees; 0 takes that of each shard, less what '
        'turn_deg needs on both sides.',
        low=0,
        high=179,
    )
    frames_per_batch: int = setting(32, 'Views in a batch, for windows of any length.', low=1)
    window_sizes: dict[int, float] = setting(  # noqa: RUF009
        {1: 0.05, 2: 0.1, 3: 0.1, 4: 0.5, 6: 0.15, 8: 0.1},
        'Odds of each window length.',
        check=_check_window_sizes,
    )
    ordered: float = setting(0.6, 'Fraction of windows in order of time.', low=0, high=1)
    mixed: float = setting(
        0.0,
        'Fraction of windows whose views come from several drives of one room, without motion '
        "masks; for networks that are trained in the room's frame.",
        low=0,
        high=1,
    )
    backwards: float = setting(0.5, 'Fraction of windows that are reversed.', low=0, high=1)
    max_stride: int = setting(4, 'Largest step between the frames of an ordered window.', low=1)
    turn_deg: float = setting(
        5.0, 'Largest random rotation of a window about each axis, in degrees.', low=0, high=45
    )
    shake_deg: float = setting(
        0.5,
        'Standard deviation of the additional rotation of each view, in degrees.',
        low=0,
        high=45,
    )
    zoom: float = setting(0.05, 'Largest relative change of the focal length.', low=0, high=0.9)
    workers: int = setting(1, 'Processes that prepare batches.', low=0, dynamic=True)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


@dataclass(frozen=True)
class LossConfig(Settings):
    """Target frame, and weights of the losses; a loss of weight 0 is not computed."""

    targets: str = setting(
        'first_camera',
        'Frame and unit of the targets: first_camera, where the mean distance of points is 1 '
        "(published); first_camera_metres; or scene, the room's frame in metres, for known rooms.",
        choices=('first_camera', 'first_camera_metres', 'scene'),
    )
    length_unit: float = setting(
        1.0, 'Lengths are divided by this before losses are taken.', low=1e-9
    )
    either_sign: bool = setting(
        False, 'Accept a quaternion and its negative as the same rotation.'
    )
    camera: float = setting(5.0, 'Weight of the pose encodings.', low=0)
    relative: float = setting(
        0.0, 'Weight of the relative poses between the views of a window.', low=0
    )
    depth: float = setting(1.0, 'Weight of depth, its confidence and its gradients.', low=0)
    points: float = setting(
        1.0,
        'Weight of points, their confidence and their normals; for networks with a point head.',
        low=0,
    )
    motion: float = setting(
        0.0,
        'Weight of the cross-entropy between the mask head and true masks; 0 as published.',
        low=0,
    )
    camera_tokens: float = setting(
        0.0,
        "Weight of an auxiliary loss: each camera's position and axes, from its token after "
        'every block.',
        low=0,
    )
    coordinates: float = setting(
        0.0, "Weight of an auxiliary loss: each patch's 3D position, from its tokens.", low=0
    )
    correspondence: float = setting(
        0.0,
        "Weight of an auxiliary loss: each patch's position in the first view, from its token "
        'after every block.',
        low=0,
    )
    attention: float = setting(
        0.0,
        'Weight of an auxiliary loss: cross-entropy between the attention of a global head and '
        'the true position in the first view.',
        low=0,
    )
    attention_blocks: tuple[int, ...] = setting(
        (1, 2),
        'Global blocks, from 0, whose first head gets the loss on attention.',
        check=_check_blocks,
    )
    depth_by_window: bool = setting(
        False,
        'Divide depth by its mean in the window instead of length_unit, so that near and far '
        'places count alike.',
    )
    dense_stride: int = setting(
        1, 'Each step takes depth and points of every n-th view only, in turn.', low=1
    )


@dataclass(frozen=True)
class MaskConfig(Settings):
    """Bias of the motion mask in attention during training."""

    hold_start: int = setting(6000, 'Steps with the full bias.', low=0)
    hold_end: int = setting(
        10000, 'Step from which on there is no bias; it falls along a cosine in between.', low=0
    )
    detached: bool = setting(True, "Stop the mask head's gradient before it reaches the tokens.")


@dataclass(frozen=True)
class GroupConfig(Settings):
    """Optimiser settings of a group of parameters."""

    parameters: tuple[str, ...] = setting(
        ('*',),
        'Patterns of parameter names, such as network.aggregator.frame_blocks.1[0-9].*.',
        check=_check_patterns,
    )
    lr: float = setting(1e-5, 'Highest learning rate.', low=0)
    lr_ends: float = setting(
        1e-8, 'Learning rate before the warm-up and at the end of the run.', low=0
    )
    warmup: float = setting(0.05, 'Fraction of the run after which lr is reached.', low=0, high=1)
    hold: float = setting(
        0.05, 'Fraction of the run after which the learning rate falls.', low=0, high=1
    )
    fall: str = setting('cosine', 'Shape of the fall.', choices=('cosine', 'linear'))
    weight_decay: float = setting(0.01, 'Weight decay of AdamW.', low=0)

    def check(self) -> None:
        """Compare the ends of warm-up and hold.

        Raises:
            ConfigError: the learning rate falls before it has risen.
        """
        if self.hold < self.warmup:
            raise ConfigError(
                f'hold {self.hold} ends before warmup {self.warmup}; make it as long'
            )


@dataclass(frozen=True)
class Recipe(Settings):
    """All settings that determine the result of a training run.

    A setting marked dynamic may differ when a stopped run is resumed.
    """

    RENAMED: ClassVar[dict[str, str]] = {
        'loss.gauge': 'loss.targets',
        'data.sensor': 'data.augmentation',
    }

    name: str = setting('page4d', 'Name of the weights.')
    purpose: str = setting(
        '',
        'Completes "weights NAME are for", which node and reports show; empty shows nothing.',
        dynamic=True,
    )
    half: bool = setting(
        False, 'Write the finished weights in 16 bits; a run resumes in 32.', dynamic=True
    )
    network: str = setting('published', 'Network size.', choices=('tiny', 'small', 'published'))
    weights: str = setting(
        '',
        'Weight file to start from, or page4d-small, whose sizes then count; empty starts from '
        'random weights.',
    )
    grow: bool = setting(
        False,
        'Grow `weights` to the sizes of `network`: more blocks, which change nothing at first, '
        'and a new dense head.',
    )
    seed: int = setting(0, 'Seed of weights and data.', low=0)
    steps: int = setting(1000, 'Optimiser steps.', low=1, dynamic=True)
    accumulate: int = setting(
        1, 'Parts of a batch whose gradients are accumulated for one step.', low=1
    )
    clip: float = setting(1.0, 'Largest norm of the gradient.', low=1e-9)
    clip_parts: bool = setting(
        True, 'Clip the gradient of each part of the network by itself, as published.'
    )
    betas: tuple[float, float] = setting((0.9, 0.999), 'Betas of AdamW.', check=_check_betas)
    ema: float = setting(
        0.0,
        'Decay of the moving average of the weights, which is what is written; 0 writes the last '
        'weights.',
        low=0,
        high=1,
    )
    precision: str = setting(
        'bf16',
        'Arithmetic: float32, float32 with matrix products in TF32 on a GPU, or bfloat16 by '
        'autocast.',
        choices=('fp32', 'tf32', 'bf16'),
    )
    evaluate_every: int = setting(500, 'Steps between validations.', low=1, dynamic=True)
    save_every: int = setting(100, 'Steps between saved states.', low=1, dynamic=True)
    groups: tuple[GroupConfig, ...] = setting(
        (GroupConfig(),), 'Groups of parameters to train; all others are frozen.'
    )
    loss: LossConfig = field(default_factory=LossConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    data: DataConfig = field(default_factory=DataConfig)


def load_recipe(path: Path | str, overrides: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: YAML file whose tree is that of `Recipe`.
        overrides: values by dotted name, such as ``{'data.train': 'shards'}``.

    Raises:
        TrainingError: the file is missing or not YAML, or names or values are wrong.
    """
    try:
        tree = read_yaml(Path(path))
    except ConfigError as error:
        raise TrainingError(str(error)) from error
    recipe = read_recipe({} if tree is None else tree, str(path))
    try:
        return recipe.with_values(overrides or {})
    except ConfigError as error:
        raise TrainingError(f'{path}: {error}') from error


def read_recipe(tree: Any, where: str) -> Recipe:
    """Build a recipe from nested mappings of plain values.

    Args:
        tree: names that are missing keep their defaults.
        where: origin of the tree, for messages.

    Raises:
        TrainingError: names or values are wrong.
    """
    try:
        return Recipe().with_values(tree)
    except ConfigError as error:
        raise TrainingError(f'{where}: {error}') from error


def fixed_differences(one: Recipe, other: Recipe) -> list[str]:
    """Dotted names of the settings that differ, but for those that may change on resuming."""
    leaves = Recipe.leaves()
    return [name for name in one.differences(other) if not leaves[name].dynamic]
