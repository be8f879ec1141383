"""The network over a sliding window."""

from __future__ import annotations

import gc
import time
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from page4d_ros.errors import ConfigError, DeviceMemoryError, FrameError
from page4d_ros.geometry.camera import ImageTransform, PinholeCamera
from page4d_ros.geometry.poses import inverse, transform
from page4d_ros.model.attention import preferring, quickest
from page4d_ros.model.gram import GramLayers, GramStatistics, token_mask
from page4d_ros.model.mask_head import dynamic_probability
from page4d_ros.model.pose_encoding import decode_pose
from page4d_ros.model.preprocess import image_to_network
from page4d_ros.model.runtime import compiled, keep_memory
from page4d_ros.perception.memory import MIB, what_fits, window_bytes
from page4d_ros.perception.types import Frame, FrameSet, WindowEstimate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from page4d_ros.config import ModelConfig
    from page4d_ros.model.page4d import Page4D, Page4DOutput
    from page4d_ros.perception.maps import Motion
    from page4d_ros.perception.types import FrameKey

UNTRAINED = 'untrained'
SHORTEST_KEEPING = 2
PRECISIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Engine(Protocol):
    """What turns frames into estimates of their window.

    Attributes:
        name: what the weights are called.
        purpose: what they are for; "" where their file does not say.
        caution: what whoever reads the estimates must know about them; "" for nothing.
        trained: false for random weights.
        device: where the network runs.
        resolution: width of the network's input in pixels.
        patch_size: side of the network's patches in pixels.
    """

    name: str
    purpose: str
    caution: str
    trained: bool
    device: torch.device
    resolution: int
    patch_size: int

    def push(
        self, frames: FrameSet, images: Sequence[NDArray[np.uint8]], *, keep_first: bool = False
    ) -> None:
        """Put a frame set into the window; images of another size clear the window first.

        The oldest set leaves a full window, or the next to it if the first is to be kept.
        """

    def step(self, anchor: FrameKey | None = None, *, gram: bool = False) -> WindowEstimate:
        """Estimate for the frames in the window, newest last.

        Depth is for the frames since the last step, and for those back to the anchor if the
        window still holds it; Gram statistics are for the newest frame, where asked for.
        """

    def hide(self, motion: Motion) -> None:
        """Take in what moves in the newest frame, for the windows to come."""

    def clear(self) -> None:
        """Forget all frames."""

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""


@dataclass(frozen=True, eq=False)
class _Slot:
    frame: Frame
    fit: ImageTransform
    image: Tensor  # (3, h, w)
    patches: Tensor  # the encoder's tokens, (1, 1, h' * w', C)
    local: Tensor | None  # these after the first frame block, unless the window begins with them
    moving: Tensor | None = None  # patches (h', w') that show anything that moves, once known


class WindowEngine:
    """What the published forward answers for a window, without what no one reads.

    A frame goes through the encoder and the first frame block once, when it arrives. A step runs
    the rest over the window, the last global block only for the tokens that are read, and the
    dense heads only for the frames that are new.

    Args:
        network: on any device; the engine takes it over: moves it, converts its weights and drops
            the head that is not used.
        config: device, precision and resolution.
        size: frames per window.

    Raises:
        ConfigError: the device or a setting cannot be used with this network.
    """

    def __init__(self, network: Page4D, config: ModelConfig, size: int) -> None:
        keep_memory()
        self.device = choose_device(config.device)
        if not config.point_head:
            network.point_head = None  # points come from depth and pose
        elif network.point_head is None:
            raise ConfigError(f'model.point_head: weights {network.name} have no such head')
        self.network = network.to(self.device).eval()
        self.name = network.name
        self.purpose = network.purpose
        self.trained = network.name != UNTRAINED
        self.caution = ''
        if not self.trained:
            self.caution = 'weights are untrained: poses, depths and masks mean nothing'
        elif self.purpose:
            self.caution = f'weights {self.name} are for {self.purpose}'
        self.resolution = config.resolution or network.config.img_size
        self.patch_size = network.config.patch_size
        self._config = config
        self.autocast = choose_precision(config.precision, self.device)
        if self.autocast is not None:
            network.aggregator.halve(self.autocast)
        if self.device.type == 'cpu':
            network.depth_head.to(memory_format=torch.channels_last)
        self._kernels = []  # of attention, the best first; none: torch chooses
        self._mines = config.variant == 'vggt4d'
        self._gram_layers = GramLayers.of(network.config.depth)
        self._mask_alpha = float(network.config.mask_enabled)
        self._compiled = compiled(network.estimate, self.device) if config.compile else None
        self._size = size
        self._shapes = {(size, 1), (size, 2)}  # few, because each is compiled
        self._sets: list[tuple[_Slot, ...]] = []
        self.clear()

    def clear(self) -> None:
        """Forget all frames."""
        self._sets.clear()
        self._first: tuple[_Slot, Tensor] | None = None
        self._new = 0
        self._encode_seconds = 0.0

    def free(self) -> None:
        """Give the device's memory back; the engine is of no use after this."""
        self.clear()
        self.network = self._compiled = None
        if self.device.type == 'cuda':
            gc.collect()
            torch.cuda.empty_cache()

    @property
    def mask_in_attention(self) -> bool:
        """True if the mask biases attention."""
        return bool(self._mask_alpha)

    def with_mask_in_attention(self, *, on: bool) -> WindowEngine:
        """Engine with an empty window and the same weights, eager, with the mask's bias on or off.

        Raises:
            ConfigError: the weights have no mask head.
        """
        if not self.network.config.mask_head:
            raise ConfigError('the weights have no mask head')
        twin = copy(self.network)  # shares the weights
        twin.config = replace(twin.config, mask_enabled=on)
        return WindowEngine(twin, replace(self._config, compile=False), self._size)

    @property
    def parameter_count(self) -> int:
        """Number of weights."""
        return sum(weight.numel() for weight in self.network.parameters())

    @property
    def _slots(self) -> list[_Slot]:
        """All frames of the window, oldest first."""
        return [slot for slots in self._sets for slot in slots]

    def cache_bytes(self) -> int:
        """What is kept from step to step for the frames in the window."""
        kept = [t for s in self._slots for t in (s.image, s.patches, s.local) if t is not None]
        kept += [self._first[1]] if self._first is not None else []
        return sum(tensor.numel() * tensor.element_size() for tensor in kept)

    @torch.inference_mode()
    def push(
        self, frames: FrameSet, images: Sequence[NDArray[np.uint8]], *, keep_first: bool = False
    ) -> None:
        """Encode a frame set and put it into the window; another size of image clears the window.

        The frames of a set enter and leave the window together.

        Args:
            frames: one per camera, of one time.
            images: one per frame, (H, W, 3) RGB, all of one size.
            keep_first: where the window is full, the second set leaves instead of the first; in
                windows of 2 that would be the last anchor, and they always slide.

        Raises:
            FrameError: the images of the set differ in size.
            DeviceMemoryError: the GPU has no room.
        """
        start = time.perf_counter()
        fit = self._fit(images)
        if self._sets and self._sets[-1][0].fit != fit:
            self.clear()
        pixels = [image_to_network(image, fit, self.device) for image in images]
        aggregator, grid = self.network.aggregator, self.network.grid(pixels[0])
        with self.arithmetic(), self._room_for(fit, len(pixels)):
            patches = [aggregator.patch_embed(each[None])[None] for each in pixels]
            first = not self._sets  # the window's first frame gets other special tokens
            local = [aggregator.enter(each, grid, first=False) for each in patches[first:]]
            local = [None, *local] if first else local
        if len(self._sets) == self._size:
            del self._sets[int(keep_first and self._size > SHORTEST_KEEPING)]
        parts = zip(frames.frames, pixels, patches, local, strict=True)
        self._sets.append(tuple(_Slot(frame, fit, *rest) for frame, *rest in parts))
        self._new = min(self._new + 1, self._size)
        self._encode_seconds += time.perf_counter() - start

    def _fit(self, images: Sequence[NDArray[np.uint8]]) -> ImageTransform:
        """Way of images (H, W, 3) to the network's input."""
        sizes = sorted({image.shape[1::-1] for image in images})
        if len(sizes) > 1:
            raise FrameError(
                f'the images of a frame set have the sizes {sizes} (width, height); the cameras '
                'of a rig need one size: set them alike, or scale one stream'
            )
        return ImageTransform.crop(*sizes[0], self.resolution, self.patch_size)

    @torch.inference_mode()
    def step(self, anchor: FrameKey | None = None, *, gram: bool = False) -> WindowEstimate:
        """Estimate for the frames in the window, newest last.

        Args:
            anchor: a frame whose depth is wanted too, if the window still holds it.
            gram: whether to look at the attention for motion of the newest frame.

        Returns:
            Poses and motion of all frames; depth of those since the last step and, where there is
            an anchor, of all from it on.

        Raises:
            DeviceMemoryError: the GPU has no room; what is in the window is kept.
        """
        start = time.perf_counter()
        slots = self._slots
        fit, count = slots[0].fit, len(slots)
        newest = sum(len(frames) for frames in self._sets[-max(self._new, 1) :])
        keys = [slot.frame.key for slot in slots]
        if anchor in keys:
            newest = max(newest, count - keys.index(anchor))
        grid = self.network.grid(slots[0].image)
        run = self.network.estimate
        if self._compiled is not None and (count, newest) in self._shapes:
            run = self._compiled
        statistics = self._statistics(count) if gram or self._mines else None
        hidden = self._hidden(grid) if self._mines else None
        with self.arithmetic(), self._room_for(fit, newest):
            local = torch.cat([self._first_local(grid), *(s.local for s in slots[1:])], dim=1)
            output = run(local, grid, self._mask_alpha, newest, hidden, statistics)
        mined = None if statistics is None else _on_host(statistics.dynamic_map(grid)[0])
        window = window_of(tuple(s.frame for s in slots), fit, [s.image for s in slots], output)
        if self._mines:
            known = hidden[0, :-1].cpu().numpy().astype(mined.dtype)
            window = replace(window, dynamic=np.concatenate([known, mined[None]]))
        seconds = {'encode': self._encode_seconds, 'forward': time.perf_counter() - start}
        self._new, self._encode_seconds = 0, 0.0
        return replace(window, gram=mined, seconds=seconds)

    def _statistics(self, count: int) -> GramStatistics:
        config = self.network.config
        return GramStatistics(
            self._gram_layers, [count - 1], specials=config.num_special_tokens, frames=count
        )

    @torch.inference_mode()
    def hide(self, motion: Motion) -> None:
        """Keep what moves in the newest frame from the first layers, with ``vggt4d``."""
        if not self._mines:
            return
        *others, slot = self._sets[-1]
        grid = self.network.grid(slot.image)
        moving = token_mask(
            torch.from_numpy(motion.mask).to(self.device) > 0, self.network.config.patch_size
        )
        slot = replace(slot, moving=moving)
        if slot.local is not None:
            with self.arithmetic():
                slot = replace(slot, local=self._enter(slot, grid, first=False))
        self._sets[-1] = *others, slot

    def _hidden(self, grid: tuple[int, int]) -> Tensor:
        """(1, S, h', w') patches that are known to move; nothing is, of the newest frame."""
        nothing = torch.zeros(grid, dtype=torch.bool, device=self.device)
        moving = [nothing if slot.moving is None else slot.moving for slot in self._slots]
        return torch.stack(moving)[None]

    def _enter(self, slot: _Slot, grid: tuple[int, int], *, first: bool) -> Tensor:
        hidden = None if slot.moving is None else slot.moving[None, None]
        return self.network.aggregator.enter(slot.patches, grid, first=first, hidden=hidden)

    def _first_local(self, grid: tuple[int, int]) -> Tensor:
        """Tokens of the window's first frame, whose special tokens are others."""
        slot = self._sets[0][0]
        if self._first is None or self._first[0] is not slot:
            self._first = slot, self._enter(slot, grid, first=True)
        return self._first[1]

    def warm_up(self, *, gram: bool = False) -> None:
        """Run full windows of nothing, so that whatever happens only once happens now.

        Args:
            gram: whether steps will be asked for Gram statistics.
        """
        image = np.zeros((3 * self.resolution // 4, self.resolution, 3), np.uint8)
        self._kernels = quickest(self._queries(image), self.autocast or torch.float32, self.device)
        anchor = None
        for index in range(self._size + 1):
            frame = Frame(index, '', decode=lambda: image)
            self.push(FrameSet.of(frame), [image])
            self.step(anchor, gram=gram)
            anchor = frame.key
        self.clear()

    def _queries(self, image: NDArray) -> tuple[int, int, int, int]:
        """Shape of a global block's queries, for a full window of such images."""
        config = self.network.config
        height, width = (side // config.patch_size for side in image.shape[:2])
        tokens = self._size * (height * width + config.num_special_tokens)
        return 1, config.num_heads, tokens, config.embed_dim // config.num_heads

    @contextmanager
    def _room_for(self, fit: ImageTransform, newest: int) -> Iterator[None]:
        """Say what would fit where the GPU has no room."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            config, count = self.network.config, max(len(self._slots), 1)
            needed = window_bytes(config, count, (fit.height, fit.width), newest)
            available = torch.cuda.mem_get_info(self.device)[0] + self.cache_bytes()
            settings = ' or '.join(what_fits(config, count, fit, newest, available))
            raise DeviceMemoryError(
                f'{self.device} is out of memory: a window of {count} frames of {fit.width}x'
                f'{fit.height} pixels needs about {needed / MIB:.0f} MiB beside the weights, and '
                f'{available / MIB:.0f} are free; set {settings or "model.device cpu"}'
            ) from error

    @contextmanager
    def arithmetic(self) -> Iterator[None]:
        """The precision of ``model.precision``, and the best attention, as a context."""
        enabled = self.autocast is not None
        precision = torch.autocast(self.device.type, dtype=self.autocast, enabled=enabled)
        with precision, preferring(self._kernels):
            yield


def window_of(
    frames: tuple[Frame, ...], fit: ImageTransform, images: Sequence[Tensor], output: Page4DOutput
) -> WindowEstimate:
    """A network's answer in the terms of the perception; its gauge is the first camera's frame.

    Args:
        frames: of the window.
        fit: source image to network image.
        images: what the network saw, (3, h, w) each.
        output: of a batch of one.
    """
    T_camera_gauge, K = decode_pose(output.pose_enc[0].double(), (fit.height, fit.width))
    T_camera_gauge, K = T_camera_gauge.cpu().numpy(), K.cpu().numpy()
    score, points = output.mask_score, output.world_points
    return WindowEstimate(
        frames=frames,
        transform=fit,
        images=tuple(images),
        T_gauge_camera=inverse(transform(T_camera_gauge[:, :, :3], T_camera_gauge[:, :, 3])),
        cameras=tuple(PinholeCamera.from_matrix(k, fit.width, fit.height) for k in K),
        depth=_on_host(output.depth[0]),
        confidence=_on_host(1.0 - 1.0 / output.depth_conf[0]),
        dynamic=None if score is None else _on_host(dynamic_probability(_wide(score[0]))),
        points=None if points is None else _on_host(points[0]),
    )


def _on_host(x: Tensor) -> NDArray:
    return _wide(x).cpu().numpy()


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def choose_device(name: str) -> torch.device:
    """Device of ``model.device``.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f'model.device {name!r} cannot be used ({reason}); set it to cpu or auto, or install '
            'a torch that fits the GPU'
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype | None:
    """Autocast type of ``model.precision``; None for float32."""
    if name != 'auto':
        return PRECISIONS[name]
    if device.type != 'cuda':
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
