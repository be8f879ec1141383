"""Cameras of the node: one, whose frames are sets of their own, or a rig."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from page4d_ros.messages.decode import FrameReader
from page4d_ros.perception.camera_sets import CameraSets
from page4d_ros.perception.types import FrameSet
from page4d_ros.ros.diagnostics import SILENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from page4d_ros.config import Config
    from page4d_ros.perception.types import Frame


class Cameras:
    """Readers of the cameras' messages, and the sets that their frames make.

    Args:
        config: all settings.
        fallback: converts unknown encodings of images, see `FrameReader`.

    Attributes:
        readers: one per camera.
        frame_ids: optical frame by view, of the cameras that came.
    """

    def __init__(self, config: Config, fallback: Callable[[Any], Any] | None) -> None:
        self.readers = [
            FrameReader(
                rectify=config.input.rectify,
                frame_id=config.frames.camera,
                fallback=fallback,
                view=view,
                name=name,
            )
            for view, name in enumerate(config.cameras or [''])
        ]
        self.frame_ids: dict[int, str] = {}
        self._sets = CameraSets(config) if config.cameras else None
        self._seen: dict[int, float] = {}

    def forget(self) -> None:
        """Forget frames that wait for others, and who was there."""
        self._seen.clear()
        if self._sets is not None:
            self._sets.forget()

    def add(self, frame: Frame) -> list[FrameSet]:
        """Take a frame; returns the sets that are complete now."""
        now = time.monotonic()
        self.frame_ids[frame.view] = frame.frame_id
        self._seen[frame.view] = now
        return [FrameSet.of(frame)] if self._sets is None else self._sets.add(frame, now)

    def due(self) -> list[FrameSet]:
        """Sets that wait for nobody any more."""
        return [] if self._sets is None else self._sets.due(time.monotonic())

    def patience(self) -> float | None:
        """Seconds until a set is due; None if there is none."""
        if self._sets is None:
            return None
        now = time.monotonic()
        at = self._sets.next_due(now)
        return None if at is None else max(0.0, at - now)

    def silent(self) -> list[str]:
        """Findings about cameras of a rig that are silent while others are not."""
        now = time.monotonic()
        seen = {reader.name: self._seen.get(view) for view, reader in enumerate(self.readers)}
        if not any(at is not None and now - at < SILENCE for at in seen.values()):
            return []
        return [
            f'no image of {name} yet' if at is None else f'no image of {name} for {now - at:.0f} s'
            for name, at in seen.items()
            if at is None or now - at > SILENCE
        ]

    def values(self) -> dict[str, Any]:
        """Key and value pairs for diagnostics: counters of each camera of a rig."""
        if self._sets is None:
            return {}
        return {
            f'{name}: {key.replace("_", " ")}': value
            for name, counts in self._sets.counts.items()
            for key, value in vars(counts).items()
        }
