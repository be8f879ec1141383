"""Plans of rendered sequences: seeds, rooms, rigs and traffic, in blocks that share no drive."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from page4d_ros.errors import SceneError
from page4d_ros.synthetic.options import Rig, Traffic
from page4d_ros.synthetic.shards import PLACE_RIGS, SPLIT_SIZE, SPLITS, conditions, lens

RATE_HZ = 10.0
WINDOW = 4  # frames that the network sees together
STEP = 3  # frames between two of a window: 0.3 s
FOV_X_DEG = 60.0
LENS_MARGIN_DEG = 10.0  # by which training narrows a lens, to turn the view
WINDOW_SECONDS = 2.0  # of a drive that gives a window, as in training
FIRST_UNSEEN = 101  # seed of the first unseen room
UNSEEN_DRIVES = 3  # per block and unseen room

BLOCK = 10_000  # seeds of one block, and how they are shared out
MAX_BLOCKS = SPLIT_SIZE // BLOCK - 1  # the last one asks what moves
SHARE = 2_000
TRIES = 10  # seeds for one drive, because some ask for more than the room holds
MOVING_RIGS = (Rig.HANDHELD, Rig.WHEELS, Rig.FLIGHT)


class Group(str, Enum):
    """Purpose of a sequence.

    KNOWN, UNSEEN and PLACE have the rigs and the traffic of the training; in STATIC nothing moves
    but a handheld camera, and in STATIC_PLACE nothing but a camera; CROWDED is full of movers,
    STREAM is long; PRIOR belongs to the training and is all that the baselines may learn from.
    MOTION is for motion masks of consecutive frames. Each window of PLACE and STATIC_PLACE shows
    another place, which no training has seen, through another lens.
    """

    KNOWN = 'known'
    STATIC = 'static'
    CROWDED = 'crowded'
    UNSEEN = 'unseen'
    STREAM = 'stream'
    PLACE = 'place'
    STATIC_PLACE = 'static_place'
    PRIOR = 'prior'
    MOTION = 'motion'


SHARED_BY = (Group.KNOWN, Group.STATIC, Group.CROWDED, Group.UNSEEN, Group.STREAM)  # blocks


@dataclass(frozen=True)
class Options:
    """Number of rendered sequences.

    Attributes:
        rooms: seeds of the rooms that the network was trained in.
        unseen: number of rooms that it has not seen, from FIRST_UNSEEN on.
        seeds: number of blocks of drives.
        drives: drives per block and known room.
        places: places per block, each of them seen once; half as many again in which nothing
            moves.
        stream_frames: frames of the long drives; 0 for none.
        prior_drives: drives of the training per known room, for the baselines.
        processes: renderers in parallel.

    Raises:
        SceneError: a number makes no sense.
    """

    rooms: tuple[int, ...] = (1, 2)
    unseen: int = 4
    seeds: int = 3
    drives: int = 12
    places: int = 16
    stream_frames: int = 100
    prior_drives: int = 12
    processes: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be planned."""
        if not self.rooms or min(self.rooms) < 0 or max(self.rooms) >= FIRST_UNSEEN:
            raise SceneError(
                f'known rooms {list(self.rooms)}: give some from 0 to {FIRST_UNSEEN - 1}; rooms '
                f'from {FIRST_UNSEEN} on are the unseen ones'
            )
        if not 1 <= self.seeds <= MAX_BLOCKS:
            raise SceneError(f'{self.seeds} blocks of drives: there are 1 to {MAX_BLOCKS}')
        most = SHARE // TRIES // max(len(self.rooms), self.unseen)
        if not 1 <= self.drives <= most:
            raise SceneError(f'{self.drives} drives per room and block: there are 1 to {most}')
        if not 0 <= self.places <= SHARE:
            raise SceneError(f'{self.places} places per block: there are 0 to {SHARE}')

    @property
    def fewer(self) -> int:
        """Drives per block and room of the smaller groups."""
        return max(1, self.drives // 2)


class SequencePlan(NamedTuple):
    """Drive to render, and the frames of it that make a sequence.

    Attributes:
        group: purpose of the sequence.
        block: number of the disjoint set of drives that it belongs to.
        room: seed of the room.
        seeds: seeds of the drive; the first that fits into the room is taken.
        frames: number of frames.
        step: periods of RATE_HZ from one frame to the next.
        seconds: length of the drive.
        staged: carrier of the camera and amount of motion; None derives them from group and seed.
    """

    group: Group
    block: int
    room: int
    seeds: tuple[int, ...]
    frames: int = WINDOW
    step: int = STEP
    seconds: float = WINDOW_SECONDS
    staged: tuple[Rig, Traffic] | None = None

    def conditions(self, seed: int) -> tuple[Rig, Traffic]:
        """Carrier of the camera and amount of motion for one of the seeds."""
        if self.staged:
            return self.staged
        if self.group is Group.STATIC:
            return Rig.HANDHELD, Traffic.NONE
        if self.group is Group.STREAM:
            return Rig.HANDHELD, Traffic.SOME
        if self.group is Group.CROWDED:
            return MOVING_RIGS[seed % len(MOVING_RIGS)], Traffic.MANY
        if self.group is Group.STATIC_PLACE:
            return conditions(seed, PLACE_RIGS)[0], Traffic.NONE
        return conditions(seed, PLACE_RIGS) if self.group is Group.PLACE else conditions(seed)

    def fov_x_deg(self, seed: int) -> float:
        """Horizontal field of view for one of the seeds, in degrees."""
        placed = self.group in {Group.PLACE, Group.STATIC_PLACE}
        return lens(seed) - LENS_MARGIN_DEG if placed else FOV_X_DEG


def prior_plans(options: Options) -> list[SequencePlan]:
    """Windows of drives that the network was trained on."""
    return [
        SequencePlan(Group.PRIOR, 0, room, (SPLITS['train'] + drive,))
        for room in options.rooms
        for drive in range(options.prior_drives)
    ]


def block_plans(options: Options, block: int) -> list[SequencePlan]:
    """All sequences of one block; no other block and no training renders any of their drives."""
    unseen = tuple(range(FIRST_UNSEEN, FIRST_UNSEEN + options.unseen))
    wanted = (
        (Group.KNOWN, options.rooms, options.drives),
        (Group.STATIC, options.rooms, options.fewer),
        (Group.CROWDED, options.rooms, options.fewer),
        (Group.UNSEEN, unseen, UNSEEN_DRIVES),
        (Group.STREAM, options.rooms, int(options.stream_frames > 0)),
    )
    out = []
    for group, rooms, drives in wanted:
        first = SPLITS['test'] + block * BLOCK + SHARED_BY.index(group) * SHARE
        count = len(rooms) * drives
        for index in range(count):
            seeds = tuple(first + index + attempt * count for attempt in range(TRIES))
            plan = SequencePlan(group, block, rooms[index // drives], seeds)
            if group is Group.STREAM:
                frames = options.stream_frames
                plan = plan._replace(frames=frames, step=1, seconds=frames / RATE_HZ)
            out.append(plan)
    return out + _place_plans(options, block)


def _place_plans(options: Options, block: int) -> list[SequencePlan]:
    """One window for each of the block's places, whose seeds are those of their drives."""
    out = []
    first = SPLITS['test'] + block * BLOCK
    wanted = (Group.PLACE, options.places), (Group.STATIC_PLACE, options.places // 2)
    for group, count in wanted:
        for place in range(first, first + count):
            seeds = tuple(place + attempt * SHARE // TRIES for attempt in range(TRIES))
            out.append(SequencePlan(group, block, place, seeds))
        first += SHARE
    return out
