"""page4d_ros/PerceptionStatus: state, stage times and counters, with every estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.messages import encode

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.base_frame import BaseFrame
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.runner import Counts
    from page4d_ros.perception.types import Estimate

KIND = 'page4d_ros/msg/PerceptionStatus'
STAGES = ('decode', 'encode', 'forward', 'fuse', 'publish')
WAITING, FILLING, TRACKING, LOST, PAUSED = range(5)  # constants of msg/PerceptionStatus.msg


def status(
    make: MessageFactory,
    estimate: Estimate,
    config: Config,
    engine: Engine,
    base_frame: BaseFrame,
    counts: Counts,
    *,
    frame_age: float,
) -> Any:
    """Status of an estimate; `frame_age` is in seconds."""
    full = TRACKING if estimate.window_fill >= config.window.size else FILLING
    milliseconds = {f'{name}_ms': 1e3 * estimate.seconds.get(name, 0.0) for name in STAGES}
    return make(
        KIND,
        header=encode.header(make, estimate.frame.stamp_ns, estimate.frame.frame_id),
        state=LOST if estimate.odometry.lost else full,
        window_fill=estimate.window_fill,
        **milliseconds,
        frame_age=float(frame_age),
        scale=float(estimate.odometry.scale),
        metric=bool(estimate.odometry.metric),
        scale_state=estimate.odometry.scale_state,
        calibrated=bool(estimate.calibrated),
        bodies=[encode.moving_body(make, b, base_frame.T_odom_world) for b in estimate.bodies],
        **_common(config, engine, counts),
    )


def idle_status(
    make: MessageFactory, stamp_ns: int, state: int, config: Config, engine: Engine, counts: Counts
) -> Any:
    """Status without an estimate; `state` is WAITING or PAUSED."""
    return make(
        KIND,
        header=encode.header(make, stamp_ns, ''),
        state=state,
        window_fill=0,
        **dict.fromkeys([f'{name}_ms' for name in STAGES], 0.0),
        frame_age=0.0,
        scale=0.0,
        metric=False,
        scale_state='',
        calibrated=False,
        bodies=[],
        **_common(config, engine, counts),
    )


def _common(config: Config, engine: Engine, counts: Counts) -> dict[str, Any]:
    return {
        'window_size': config.window.size,
        **counts._asdict(),
        'checkpoint': engine.name,
        'trained': bool(engine.trained),
        'purpose': engine.purpose,
        'device': str(engine.device),
    }
