"""Rendered sequences of the motion evaluation."""

from __future__ import annotations

from dataclasses import dataclass

from page4d_ros.datasets.rendered_plan import (
    BLOCK,
    FIRST_UNSEEN,
    MAX_BLOCKS,
    RATE_HZ,
    TRIES,
    Group,
    SequencePlan,
)
from page4d_ros.errors import SceneError
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.shards import SPLITS

WALKING, STANDING = 'camera and bodies move', 'bodies move'
WALKING_STILL, STANDING_STILL = 'camera moves', 'nothing moves'
KINDS = {
    WALKING: (Rig.HANDHELD, Traffic.SOME),
    STANDING: (Rig.TRIPOD, Traffic.SOME),
    WALKING_STILL: (Rig.HANDHELD, Traffic.NONE),
    STANDING_STILL: (Rig.TRIPOD, Traffic.NONE),
}


@dataclass(frozen=True)
class Options:
    """Amount of data that is evaluated.

    Attributes:
        rooms: seeds of the rooms that the network knows.
        unseen: seeds of rooms that it does not know, with the first kind of drives only.
        drives: of each kind, per room.
        frames: of a drive, 10 a second.
        processes: renderers side by side.

    Raises:
        SceneError: a number makes no sense.
    """

    rooms: tuple[int, ...] = (1, 2)
    unseen: tuple[int, ...] = (FIRST_UNSEEN, FIRST_UNSEEN + 1)
    drives: int = 6
    frames: int = 24
    processes: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be planned."""
        most = BLOCK // (len(KINDS) + 1) // TRIES // max(len(self.rooms), len(self.unseen), 1)
        if not self.rooms or not 1 <= self.drives <= most:
            raise SceneError(f'{self.drives} drives in rooms {self.rooms}: there are 1 to {most}')


def planned(options: Options) -> list[tuple[str, SequencePlan]]:
    """Kind and drive, of the block of test drives that no other evaluation takes."""
    first = SPLITS['test'] + MAX_BLOCKS * BLOCK
    unseen = f'{WALKING}, unseen room'
    wanted = [(kind, staged, options.rooms) for kind, staged in KINDS.items()]
    wanted.append((unseen, KINDS[WALKING], options.unseen))
    out = []
    for number, (kind, staged, rooms) in enumerate(wanted):
        count = len(rooms) * options.drives
        for index in range(count):
            begin = first + number * (BLOCK // len(wanted)) + index
            seeds = tuple(begin + attempt * count for attempt in range(TRIES))
            plan = SequencePlan(
                Group.MOTION,
                0,
                rooms[index // options.drives],
                seeds,
                frames=options.frames,
                step=1,
                seconds=options.frames / RATE_HZ,
                staged=staged,
            )
            out.append((kind, plan))
    return out
