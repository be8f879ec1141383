"""Cases of the benchmark: networks, windows and their sliding."""

from __future__ import annotations

from dataclasses import dataclass, replace

from page4d_ros.model.config import FourDVGGTConfig, NetworkConfig

HALF = {
    'embed_dim': 384,
    'num_heads': 6,
    'encoder_depth': 12,
    'encoder_heads': 6,
    'camera_heads': 6,
}
HALF_WIDTH = replace(NetworkConfig.published(), **HALF)
SMALL = replace(NetworkConfig.small(), point_head=True)


@dataclass(frozen=True)
class Case:
    """One comparison of the reference with the engine.

    Attributes:
        name: begins with the width of the network.
        network: its sizes; the weights are random, which costs the same.
        frames: S of the window.
        size: height and width of the images in pixels.
        new: frames k that arrive between two steps.
        mask: whether attention is biased by the mask.
        anchor: whether the newest frame of the last step gets depth again, as odometry asks.
        rounds: comparisons; each runs both once, in turn.
        threads: of the CPU; None leaves torch its choice.
        timed: whether times are taken, or only memory.
        precision: ``fp32`` or ``bf16``, see `ModelConfig`.
        compile: whether the engine compiles.
    """

    name: str
    network: NetworkConfig
    frames: int
    size: tuple[int, int]
    new: int = 1
    mask: bool = False
    anchor: bool = False
    rounds: int = 5
    threads: int | None = 1
    timed: bool = True
    precision: str = 'fp32'
    compile: bool = False


def sliding(base: Case) -> list[Case]:
    """The same window with mask, with an anchor, and with 2 and 4 new frames a step."""
    return [
        base,
        replace(base, name=f'{base.name}_mask', mask=True),
        replace(base, name=f'{base.name}_anchor', anchor=True),
        *(replace(base, name=f'{base.name}_k{k}', new=k) for k in (2, 4)),
    ]


_TINY = Case('width128_S4_84x112', SMALL, 4, (84, 112), rounds=15)
_TINY_4D = replace(
    _TINY, name='width128_S8_84x112_4dvggt', frames=8,
    network=replace(FourDVGGTConfig.tiny(), point_head=True),
)  # fmt: skip
_HALF_4D = Case(
    'width384_S4_154x210_4dvggt', replace(FourDVGGTConfig.published(), **HALF), 4, (154, 210),
    rounds=3,
)  # fmt: skip
_HALF = Case('width384_S4_154x210', HALF_WIDTH, 4, (154, 210))
_GPU = Case(
    'width1024_S8_392x518', NetworkConfig.published(), 8, (392, 518),
    rounds=30, threads=None, precision='bf16', compile=True,
)  # fmt: skip
PRESETS: dict[str, list[Case]] = {
    'tiny': [
        *sliding(_TINY),
        replace(_TINY, name='width128_S8_84x112', frames=8),
        _TINY_4D,
        replace(_TINY_4D, name='width128_S8_84x112_4dvggt_anchor', anchor=True),
    ],
    'cpu': [
        *sliding(_HALF),
        replace(_HALF, name='width384_S8_154x210', frames=8, rounds=3),
        replace(_HALF, name='width384_S8_154x210_k4', frames=8, new=4, rounds=3),
        Case('width1024_S4_154x210', NetworkConfig.published(), 4, (154, 210), rounds=3),
        replace(_HALF, name='width384_S8_392x518', frames=8, size=(392, 518), timed=False),
        _HALF_4D,
        replace(_HALF_4D, name='width384_S8_154x210_4dvggt', frames=8),
        replace(_HALF_4D, name='width384_S8_154x210_4dvggt_anchor', frames=8, anchor=True),
        Case('width1024_S4_154x210_4dvggt', FourDVGGTConfig.published(), 4, (154, 210), rounds=3),
    ],
    'gpu': [*sliding(_GPU), replace(_GPU, name='width1024_S4_392x518', frames=4)],
}
