"""The network over a sliding window."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from page4d_ros.backends.graph import FrameGraph, FrameTokens, StepGraph, network_output
from page4d_ros.errors import ConfigError
from page4d_ros.geometry.camera import ImageTransform
from page4d_ros.model.attention import preferring, quickest
from page4d_ros.model.gram import token_mask
from page4d_ros.model.network import UNTRAINED, StepPlan, full_cells, patch_grid
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.model.runtime import compiled
from page4d_ros.model.variants import AS_TRAINED
from page4d_ros.perception.devices import choose_device, choose_precision
from page4d_ros.perception.engine import SHORTEST_KEEPING, SequenceEstimate
from page4d_ros.perception.memory import MIB, explained, free_bytes, largest_width, most_frames
from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate
from page4d_ros.perception.window import Fits, by_view, cells_of, first_new, on_host, window_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.backends.graphs import Graphs
    from page4d_ros.backends.recorded import RecordedGraphs
    from page4d_ros.config import ModelConfig
    from page4d_ros.model.network import Network, NetworkOutput
    from page4d_ros.model.variants import Variant
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import FrameKey


@dataclass(frozen=True, eq=False)
class _Slot:
    frame: Frame
    fit: ImageTransform
    image: Tensor  # (3, h, w) of bytes
    encoded: Tensor  # patch tokens, (1, 1, h' * w', C)
    tokens: Tensor | None  # window tokens, unless the window begins with this frame
    first_tokens: Tensor | None = None  # those of a window's first frame, where a graph made them
    moving: Tensor | None = None  # patches (h', w') that show anything that moves, once known


class _Set(NamedTuple):
    frames: FrameSet
    slots: tuple[_Slot, ...]  # one per frame

    def only(self, view: int) -> _Set:
        """The set of one view that it has."""
        slot = self.slots[self.frames.views.index(view)]
        return _Set(FrameSet(self.frames.stamp_ns, (slot.frame,)), (slot,))


class WindowEngine:
    """Same outputs as the published forward pass, without the work that nobody reads.

    A frame goes through the encoder and the first frame block once, when it arrives. A step runs
    the rest over the window, the last global block only for the tokens that are read, and the
    dense heads only for the frames that are new.

    Args:
        network: on any device; the engine takes it over: moves it, converts its weights and drops
            the head that is not used.
        config: device, precision and resolution.
        size: frame sets per window.
        variant: way of running the network.

    Raises:
        ConfigError: the device or a setting cannot be used with this network.
    """

    def __init__(
        self,
        network: Network,
        config: ModelConfig,
        size: int,
        variant: Variant = AS_TRAINED,
    ) -> None:
        self.device = choose_device(config.device)
        self.patch_size = network.patch_size
        self.resolution = config.resolution or network.image_size
        if self.resolution % self.patch_size:
            raise ConfigError(
                f'model.resolution: {self.resolution} is not a multiple of {self.patch_size}, the '
                f'patch size of {network.name}'
            )
        self.half = choose_precision(config.precision, self.device)
        network.prepare(self.device, self.half, points=config.point_head)
        self.network = network
        self.name = network.name
        self.purpose = network.purpose
        self.trained = network.name != UNTRAINED
        self.caution = ''
        if not self.trained:
            self.caution = 'weights are untrained: poses, depths and masks mean nothing'
        elif self.purpose:
            self.caution = f'weights {self.name} are for {self.purpose}'
        self._config, self._size, self._variant = config, size, variant
        self._kernels = []  # of attention, the best first; none: torch chooses
        self._compiled = compiled(network.step, self.device) if config.compile else None
        self.graphs: Graphs | RecordedGraphs | None = None
        self._sets: list[_Set] = []
        self._fits = Fits(self.resolution, self.patch_size)
        self.clear()

    def clear(self) -> None:
        """Forget all frames."""
        self._sets.clear()
        self._first: dict[int, tuple[_Slot, Tensor]] = {}  # by view: of the first of a window
        self._new = 0  # sets since the last step
        self._encode_seconds = 0.0

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""
        self.clear()
        if self.graphs is not None:
            self.graphs.close()
        self.network = self._compiled = self.graphs = None
        if self.device.type == 'cuda':
            gc.collect()
            torch.cuda.empty_cache()

    @property
    def runs_on(self) -> str:
        """Device, arithmetic and library, in words."""
        arithmetic = 'float32' if self.half is None else str(self.half).removeprefix('torch.')
        graphs = self.graphs is not None and self.graphs.ready
        library = self.graphs.title if graphs else f'torch {torch.__version__}'
        return f'{self.device}, {arithmetic}, {library}'

    @property
    def mask_in_attention(self) -> bool:
        """True if the motion mask biases attention."""
        return self.network.mask_in_attention

    def with_mask_in_attention(self, *, on: bool) -> WindowEngine:
        """Engine with an empty window and the same weights, eager, with the mask's bias on or off.

        Raises:
            ConfigError: the weights have no mask head.
        """
        twin = self.network.with_mask_in_attention(on=on)
        return WindowEngine(twin, replace(self._config, compile=False), self._size, self._variant)

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return self.network.parameter_count

    def cache_bytes(self) -> int:
        """Memory of all that is kept from step to step for the frames in the window."""
        parts = ((s.image, s.encoded, s.tokens, s.first_tokens) for s in self._slots)
        kept = [tensor for each in parts for tensor in each if tensor is not None]
        kept += [tokens for _, tokens in self._first.values()]
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    @property
    def _slots(self) -> list[_Slot]:
        """All frames of the window, oldest first."""
        return [slot for each in self._sets for slot in each.slots]

    @torch.inference_mode()
    def push(
        self, frames: FrameSet, images: Sequence[NDArray[np.uint8]], *, keep_first: bool = False
    ) -> None:
        """Encode a frame set and put it into the window.

        A camera whose images have another size than before clears the window.

        The frames of a set enter and leave the window together.

        Args:
            frames: one per camera, of one time.
            images: one per frame, (H, W, 3) RGB; see `Fits` for those of different sizes.
            keep_first: where the window is full, the second set leaves instead of the first; in
                windows of 2 that would be the last anchor, and they always slide.

        Raises:
            FrameError: an image is far too narrow.
            DeviceMemoryError: the GPU has no room.
        """
        start = time.perf_counter()
        fits, changed = self._fits.update(frames, images)
        if changed:
            self.clear()
        pairs = zip(images, fits, strict=True)
        pixels = [image_to_network(image, fit, self.device) for image, fit in pairs]
        grid = patch_grid(self.network, pixels[0])
        with self._arithmetic(), self._room_for(fits[0], len(pixels), max(len(self._slots), 1)):
            tokens = [
                self._tokens(each, grid, first=not (self._sets or index))
                for index, each in enumerate(pixels)
            ]
        if len(self._sets) == self._size:
            del self._sets[int(keep_first and self._size > SHORTEST_KEEPING)]
        parts = zip(frames.frames, fits, pixels, tokens, strict=True)
        slots = tuple(_Slot(frame, fit, image, *rest) for frame, fit, image, rest in parts)
        self._sets.append(_Set(frames, slots))
        self._new = min(self._new + 1, self._size)
        self._encode_seconds += time.perf_counter() - start

    def _tokens(
        self, image: Tensor, grid: tuple[int, int], *, first: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Encoder's tokens, window tokens and those of a window's first frame; see `_Slot`."""
        if self.graphs is not None:
            found = self.graphs.call(FrameGraph(grid), [image[None]])
            if found is not None:
                return tuple(FrameTokens(**found))
        encoded = self.network.encode(image[None])[None]
        return encoded, None if first else self.network.enter(encoded, grid, first=False), None

    @torch.inference_mode()
    def step(self, anchor: FrameKey | None = None, *, gram: bool = False) -> WindowEstimate:
        """Estimate for the frames in the window, newest last.

        Args:
            anchor: a frame whose depth is wanted too, if the window still holds it.
            gram: True if the dynamic maps of the newest set are wanted.

        Returns:
            Poses and motion of all frames; depth of the sets since the last step and, where there
            is an anchor, of all from its set on.

        Raises:
            DeviceMemoryError: the GPU has no room; the window keeps its frames.
        """
        start = time.perf_counter()
        since = first_new(self._sets, self._new, anchor)
        newest = sum(len(each.slots) for each in self._sets[since:])
        window = self._estimate(self._sets, newest, gram=gram)
        return self._finished([window], start)[0]

    @torch.inference_mode()
    def step_apart(
        self, anchor: FrameKey | None = None, *, gram: bool = False
    ) -> list[WindowEstimate]:
        """Estimate for the frames of each view without the others; see `Engine.step_apart`.

        The first window has the times of all.
        """
        start, since = time.perf_counter(), first_new(self._sets, self._new, anchor)
        parts = by_view(self._sets, since)
        windows = [self._estimate(sets, newest, gram=gram) for sets, newest in parts]
        return self._finished(windows, start)

    def _finished(self, windows: list[WindowEstimate], start: float) -> list[WindowEstimate]:
        seconds = {'encode': self._encode_seconds, 'forward': time.perf_counter() - start}
        self._new, self._encode_seconds = 0, 0.0
        return [replace(windows[0], seconds=seconds), *windows[1:]]

    def _estimate(self, sets: Sequence[_Set], newest: int, *, gram: bool) -> WindowEstimate:
        """Estimate of sets whose newest frames get depth."""
        slots, last = [slot for each in sets for slot in each.slots], sets[-1].slots
        mines, grid = self._variant.mines_motion, patch_grid(self.network, slots[0].image)
        first = len(slots) - len(last)
        references = tuple(range(first, len(slots))) if gram or mines else ()
        hidden = _hidden(slots, grid) if mines else None
        frames = tuple(each.frames for each in sets)
        with self._arithmetic(), self._room_for(last[0].fit, newest, len(slots)):
            tokens = torch.cat(
                [self._first_tokens(slots[0], grid), *(s.tokens for s in slots[1:])], dim=1
            )
            plan = StepPlan(grid, newest, references, cells_of(frames))
            output = self._run(sets, tokens, plan, hidden)
        fits, images = [slot.fit for slot in slots], [slot.image for slot in slots]
        window = window_of(frames, fits, images, output)
        if mines:
            known = on_host(hidden[0, :first]).astype(window.gram.dtype)
            window = replace(window, dynamic=np.concatenate([known, window.gram]))
        return window

    def _run(
        self, sets: Sequence[_Set], tokens: Tensor, plan: StepPlan, hidden: Tensor | None
    ) -> NetworkOutput:
        """Run a step, as a graph or compiled for the shapes that come again and again."""
        views = len(sets[-1].slots)
        usual = plan.newest in {views, 2 * views}
        usual = usual and plan.cells == full_cells(views, len(sets))  # nothing is missing
        full = len(sets) == self._size
        if self.graphs is not None and usual and len(sets) > 1:
            found = self._run_graph(views, tokens, plan, hidden, full=full)
            if found is not None:
                return found
        again = full and usual and self._compiled is not None
        return (self._compiled if again else self.network.step)(tokens, plan, hidden)

    def _run_graph(
        self, views: int, tokens: Tensor, plan: StepPlan, hidden: Tensor | None, *, full: bool
    ) -> NetworkOutput | None:
        """Run a full window's graph, or have it prepared while the window fills."""
        frames = self._size * views
        references = tuple(range(frames - len(plan.references), frames))
        cells = full_cells(views, self._size)
        plan = plan._replace(references=references, cells=cells)
        graph = StepGraph(frames, plan, hidden is not None)
        if not full:
            self.graphs.prepare(graph)
            return None
        found = self.graphs.call(graph, [tokens] if hidden is None else [tokens, hidden])
        return None if found is None else network_output(found)

    @torch.inference_mode()
    def hide(self, motions: Sequence[Motion]) -> None:
        """Hide moving pixels of the newest set from the first layers, in a variant that does so.

        Args:
            motions: one per frame of the set.
        """
        if not self._variant.mines_motion:
            return
        frames, slots = self._sets[-1]
        hidden = (self._hide(slot, each) for slot, each in zip(slots, motions, strict=True))
        self._sets[-1] = _Set(frames, tuple(hidden))

    def _hide(self, slot: _Slot, motion: Motion) -> _Slot:
        mask = torch.from_numpy(motion.mask).to(self.device) > 0
        slot = replace(slot, moving=token_mask(mask, self.patch_size), first_tokens=None)
        if slot.tokens is not None:
            grid = patch_grid(self.network, slot.image)
            with self._arithmetic():
                slot = replace(slot, tokens=self._enter(slot, grid, first=False))
        return slot

    def _enter(self, slot: _Slot, grid: tuple[int, int], *, first: bool) -> Tensor:
        hidden = None if slot.moving is None else slot.moving[None, None]
        return self.network.enter(slot.encoded, grid, first=first, hidden=hidden)

    def _first_tokens(self, slot: _Slot, grid: tuple[int, int]) -> Tensor:
        """Tokens of a window's first frame, whose special tokens are others."""
        if slot.first_tokens is not None:
            return slot.first_tokens
        view = slot.frame.view
        if view not in self._first or self._first[view][0] is not slot:
            self._first[view] = slot, self._enter(slot, grid, first=True)
        return self._first[view][1]

    @torch.inference_mode()
    def sequence(
        self, frames: Sequence[Frame], fit: ImageTransform, pixels: Sequence[Tensor]
    ) -> SequenceEstimate:
        """Estimate a whole sequence at once; the window is neither used nor changed.

        Args:
            frames: S of them.
            fit: from their images to the network's.
            pixels: image of each by `image_to_network`, (3, h, w) of bytes.

        Raises:
            ConfigError: something that the variant needs is not installed.
            RuntimeError: there is no room for so many frames; see `Clip`.
        """
        images = torch.stack(list(pixels))
        with self._arithmetic():
            output, masks = self._variant.sequence(self.network, images)
        gram = None if output.gram is None else on_host(output.gram)
        window = window_of(
            tuple(map(FrameSet.of, frames)), [fit] * len(images), list(images), output
        )
        return SequenceEstimate(window, gram, masks)

    def sequence_bytes(self, frames: int, fit: ImageTransform) -> int:
        """Memory that `sequence` needs for so many frames beside what is held already."""
        return self.network.memory(frames, (fit.height, fit.width), None).beside_weights

    def warm_up(
        self, *, gram: bool = False, views: int = 1, grid: tuple[int, int] | None = None
    ) -> None:
        """Run full windows of nothing, so that whatever happens only once happens now.

        Args:
            gram: True if steps will be asked for dynamic maps.
            views: frames per set.
            grid: patches (h, w) of the images; those of 4:3 where not given.
        """
        columns = self.resolution // self.patch_size
        grid = grid or (round(3 * columns / 4), columns)
        image = np.zeros((*(side * self.patch_size for side in grid), 3), np.uint8)
        queries = self.network.attention_shape(self._size, grid)
        self._kernels = quickest(queries, self.half or torch.float32, self.device)
        anchor = None
        step = self.step_apart if self._config.apart and views > 1 else self.step
        for index in range(self._size + 1):
            frames = [Frame(index, '', decode=lambda: image, view=v) for v in range(views)]
            self.push(FrameSet(index, tuple(frames)), [image] * views)
            step(anchor, gram=gram)
            anchor = frames[0].key
        self.clear()

    @contextmanager
    def _room_for(self, fit: ImageTransform, newest: int, count: int) -> Iterator[None]:
        """Name settings that would fit where the device has no room for so many frames."""

        def needed(count: int, fit: ImageTransform) -> int:
            size = fit.height, fit.width
            return self.network.memory(count, size, min(newest, count)).beside_weights

        def explain() -> str:
            available = free_bytes(self.device) + self.cache_bytes()
            fewer = most_frames(lambda n: needed(n, fit), count, available)
            width = largest_width(lambda f: needed(count, f), fit, self.patch_size, available)
            settings = [f'window.size {fewer}'] if fewer else []
            settings += [f'model.resolution {width}'] if width else []
            return (
                f'{self.device} is out of memory: a window of {count} frames of {fit.width}x'
                f'{fit.height} pixels needs about {needed(count, fit) / MIB:.0f} MiB beside the '
                f'weights, and {available / MIB:.0f} are free; set '
                f'{" or ".join(settings) or "model.device cpu"}'
            )

        with explained(explain):
            yield

    @contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """The precision of ``model.precision``, and the best attention, as a context."""
        enabled = self.half is not None
        precision = torch.autocast(
            self.device.type, dtype=self.half, enabled=enabled, cache_enabled=False
        )  # a CUDA graph must not find what another run has converted
        with precision, preferring(self._kernels):
            yield


def _hidden(slots: Sequence[_Slot], grid: tuple[int, int]) -> Tensor:
    """(1, S, h', w') patches that are known to move; none of those that are not judged yet."""
    nothing = torch.zeros(grid, dtype=torch.bool, device=slots[0].image.device)
    return torch.stack([nothing if s.moving is None else s.moving for s in slots])[None]
