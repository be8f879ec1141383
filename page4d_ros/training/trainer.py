"""Training loop in plain torch; a resumed run repeats an uninterrupted one bit by bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from page4d_ros.errors import TrainingError
from page4d_ros.model.checkpoint import load_network, save_network
from page4d_ros.model.config import NetworkConfig
from page4d_ros.model.mask_head import mask_alpha
from page4d_ros.model.page4d import Page4D
from page4d_ros.perception.build import weight_file
from page4d_ros.training.average import Average
from page4d_ros.training.batch import Batch
from page4d_ros.training.growth import grow
from page4d_ros.training.log import Log
from page4d_ros.training.objective import Objective
from page4d_ros.training.recipe import Recipe, fixed_differences, read_recipe
from page4d_ros.training.schedule import clip_gradients, make_optimiser, set_learning_rates
from page4d_ros.training.validation import Validation
from page4d_ros.training.window_sampling import WindowDataset, find_shards

STATE, WEIGHTS = 'state.pt', 'network.safetensors'
SIZES = {
    'tiny': NetworkConfig.tiny,
    'small': NetworkConfig.small,
    'published': NetworkConfig.published,
}
# Standard deviation of untrained embeddings: with the published 1e-6 the camera tokens of all
# frames stay alike for thousands of steps.
EMBEDDING_STD = 0.3
MAX_SKIPPED = 50  # steps in a row


def initial_network(recipe: Recipe) -> Page4D:
    """Network at the start of a run: from the recipe's weight file, or random."""
    torch.manual_seed(recipe.seed)  # also for the auxiliary heads
    if recipe.weights:
        network = load_network(weight_file(recipe.weights))
        if network.architecture != Page4D.architecture:
            raise TrainingError(
                f'weights: only PAGE-4D is trained here, and {recipe.weights} is '
                f'{network.architecture}'
            )
        if recipe.grow:
            network = grow(network, SIZES[recipe.network]())
        return network.train()
    network = Page4D(SIZES[recipe.network]()).train()
    aggregator = network.aggregator
    encoder = aggregator.patch_embed
    for embedding in (
        aggregator.camera_token,
        aggregator.register_token,
        encoder.pos_embed,
        encoder.cls_token,
        encoder.register_tokens,
    ):
        nn.init.normal_(embedding, std=EMBEDDING_STD)
    return network


class Trainer:
    """One run in one folder; it resumes from the state that the folder holds.

    Args:
        recipe: all settings.
        output: folder of the run, created if missing; receives `state.pt`, the state to resume
            from with its recipe, and `network.safetensors`, the weights.
        device: torch device.

    Attributes:
        step: number of optimiser steps so far.

    Raises:
        TrainingError: the folder cannot be created, or holds a run of another recipe or version,
            or a damaged one; or the recipe's groups do not match the network.
        CheckpointError: the recipe's weights cannot be read.
    """

    def __init__(self, recipe: Recipe, output: Path | str, device: str = 'cpu') -> None:
        self.recipe, self.output = recipe, Path(output)
        self.device = torch.device(device)
        torch.set_float32_matmul_precision('high' if recipe.precision == 'tf32' else 'highest')
        try:
            self.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f'{output}: cannot be made ({error.strerror})') from error
        network = initial_network(recipe)
        if network.aggregator.spatial_mask_head is not None:
            network.aggregator.spatial_mask_head.detached = recipe.mask.detached
            # use the weights with the bias that they had at the end of training
            masked = self._mask_alpha(recipe.steps) >= 0.5
            network.config = replace(network.config, mask_enabled=masked)
        self.objective = Objective(network, recipe.loss).to(self.device)
        self.optimiser = make_optimiser(self.objective, recipe)
        self.average = Average(self.objective.network, recipe.ema) if recipe.ema else None
        self.step = 0
        self._skipped = 0
        self._taught: list[str] = []
        if (self.output / STATE).exists():
            self._resume(self.output / STATE)

    @property
    def network(self) -> Page4D:
        """The network in training."""
        return self.objective.network

    def run(
        self,
        log: Log,
        *,
        stopped: Callable[[], bool] = lambda: False,
        progress: Callable[[dict[str, float]], None] | None = None,
    ) -> bool:
        """Train up to the recipe's last step.

        Args:
            log: receives losses and metrics.
            stopped: called after each step; if it returns true, the run saves its state and ends.
            progress: called after each step with its losses.

        Returns:
            True if the last step was reached.

        Raises:
            TrainingError: data are missing or damaged, the gradient is not finite for
                MAX_SKIPPED steps in a row, or the state cannot be written.
        """
        recipe = self.recipe
        shards = find_shards(recipe.data.train)
        patch = self.network.config.patch_size
        rehearsed = find_shards(recipe.data.rehearsal) if recipe.data.rehearsal else []
        dataset = WindowDataset(shards, recipe.data, patch, recipe.seed, recipe.steps, rehearsed)
        self._taught = sorted({shard.taught for shard in shards if shard.taught})
        validation = Validation(recipe.data, patch)
        if recipe.weights and not self.step and validation.shards:
            log.metrics(0, self.evaluate(validation))
        loader = DataLoader(
            dataset,
            batch_size=None,
            sampler=range(self.step, recipe.steps),
            num_workers=recipe.data.workers,
            prefetch_factor=4 if recipe.data.workers else None,
            pin_memory=self.device.type == 'cuda',
        )
        for batch in _one_line_errors(loader):
            losses = self.train_step(batch.to(self.device))
            log.losses(self.step, losses)
            if progress is not None:
                progress(losses)
            last = self.step == recipe.steps
            if validation.shards and (self.step % recipe.evaluate_every == 0 or last):
                log.metrics(self.step, self.evaluate(validation))
            interrupted = not last and stopped()
            if self.step % recipe.save_every == 0 or last or interrupted:
                self.save()
            if interrupted:
                return False
        return True

    def train_step(self, batch: Batch) -> dict[str, float]:
        """Make one optimiser step over all parts of a batch; its gradient is clipped once.

        The loss is the mean over the parts, weighted by their number of windows. For losses that
        are means over windows this equals the loss of the whole batch; means over known pixels and
        the filter of outliers are computed within each part, as in the published loop.

        Returns:
            Losses by name, and ``gradient``, its norm before clipping; ``skipped`` if that was not
            finite and the weights were left unchanged.
        """
        recipe = self.recipe
        set_learning_rates(self.optimiser, recipe, self.step)
        alpha = self._mask_alpha(self.step)
        parts = batch.split(recipe.accumulate)
        totals: dict[str, Tensor] = {}
        for part in parts:
            with self._autocast():
                losses = self.objective(part, alpha, self.step)
            share = len(part.images) / len(batch.images)
            (share * losses['total']).backward()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + share * value.detach().double()
        totals['gradient'] = clip_gradients(self.objective, recipe).double()
        # one copy from the device for all of them
        totals = dict(zip(totals, torch.stack(list(totals.values())).tolist(), strict=True))
        if math.isfinite(totals['gradient']):
            self.optimiser.step()
            self._skipped = 0
        else:
            self._skip()
            totals['skipped'] = 1.0
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        if self.average is not None:
            self.average.update(self.network, self.step)
        return totals

    def evaluate(self, validation: Validation) -> dict[str, float]:
        """Validation metrics of the weights that `save` would write now."""
        with self._kept_network() as network, self._autocast():
            return validation.run(network)

    def save(self) -> None:
        """Write the state to resume from, and the weights.

        Raises:
            TrainingError: they cannot be written; the previous state is intact.
        """
        state = {
            'step': self.step,
            'objective': self.objective.state_dict(),
            'optimiser': self.optimiser.state_dict(),
            'average': self.average.state if self.average else None,
            'recipe': self.recipe.to_mapping(),
        }
        part = self.output / (STATE + '.part')
        try:
            torch.save(state, part)
            part.replace(self.output / STATE)
        except (OSError, RuntimeError) as error:  # torch raises RuntimeError where a disk is full
            part.unlink(missing_ok=True)
            raise TrainingError(f'{part}: cannot be written ({_first_line(error)})') from error
        with self._kept_network() as network:
            save_network(
                deepcopy(network).half() if self.recipe.half else network,
                self.output / WEIGHTS,
                name=self.recipe.name,
                purpose=self.recipe.purpose,
                step=self.step,
                **({'taught': json.dumps(self._taught)} if self._taught else {}),
                recipe=json.dumps(self.recipe.to_mapping()),
            )

    def _resume(self, path: Path) -> None:
        state = _read_state(path, self.device)
        try:
            saved = read_recipe(state['recipe'], 'recipe')
        except TrainingError as error:
            raise TrainingError(
                f'{path}: was saved by another version of page4d ({error}); resume it with that '
                'version, or name an empty folder'
            ) from error
        if names := fixed_differences(saved, self.recipe):
            raise TrainingError(
                f'{path}: belongs to a run with another {", ".join(names)}; set that back, or '
                'name an empty folder'
            )
        try:
            self.objective.load_state_dict(state['objective'])
            self.optimiser.load_state_dict(state['optimiser'])
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(
                f'{path}: does not fit the network of this recipe ({_first_line(error)}); name an '
                'empty folder'
            ) from error
        if self.average is not None:
            self.average.state = state['average']
        self.step = state['step']

    def _mask_alpha(self, step: int) -> float:
        return mask_alpha(step, self.recipe.mask.hold_start, self.recipe.mask.hold_end)

    def _skip(self) -> None:
        self._skipped += 1
        if self._skipped >= MAX_SKIPPED:
            raise TrainingError(
                f'step {self.step}: the gradient was not finite for {MAX_SKIPPED} steps in a row; '
                f'go on from {self.output / STATE} or begin anew, with a lower learning rate'
            )

    def _autocast(self) -> AbstractContextManager:
        wanted = self.recipe.precision == 'bf16'
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=wanted)

    @contextmanager
    def _kept_network(self) -> Iterator[Page4D]:
        """Context with the network in evaluation mode, with the weights that `save` writes."""
        if self.average is not None:
            with self.average.applied(self.network) as network:
                yield network
            return
        self.network.eval()
        try:
            yield self.network
        finally:
            self.network.train()


def _read_state(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch.load raises many types for a broken file
        raise TrainingError(
            f'{path}: is damaged, or not the state of a run; remove it to begin anew'
        ) from error
    wanted = {'step', 'objective', 'optimiser', 'average', 'recipe'}
    if not isinstance(state, dict) or not wanted <= state.keys():
        raise TrainingError(f'{path}: is not the state of a run; remove it to begin anew')
    return state


def _one_line_errors(loader: DataLoader) -> Iterator[Batch]:
    """Yield batches; raise a TrainingError of a worker process without the worker's traceback."""
    try:
        yield from loader
    except TrainingError as error:
        text = str(error).strip().splitlines()[-1]
        raise TrainingError(text.partition('TrainingError: ')[2] or text) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(':')
