"""page4d_ros/PerceptionStatus of one estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.messages import encode

if TYPE_CHECKING:
    from page4d_ros.config import Config
    from page4d_ros.messages.factory import MessageFactory
    from page4d_ros.perception.base_frame import BaseFrame
    from page4d_ros.perception.engine import Engine
    from page4d_ros.perception.types import Estimate

STAGES = ('decode', 'encode', 'forward', 'fuse', 'publish')
WAITING, FILLING, TRACKING, LOST, PAUSED = range(5)  # constants of msg/PerceptionStatus.msg


def status(
    make: MessageFactory,
    estimate: Estimate,
    config: Config,
    engine: Engine,
    body: BaseFrame,
    *,
    received: int,
    processed: int,
    dropped: int,
    frame_age: float,
) -> Any:
    """page4d_ros/PerceptionStatus of an estimate; `frame_age` is in seconds."""
    size = config.window.size
    full = TRACKING if estimate.window_fill >= size else FILLING
    milliseconds = {f'{name}_ms': 1e3 * estimate.seconds.get(name, 0.0) for name in STAGES}
    return make(
        'page4d_ros/msg/PerceptionStatus',
        header=encode.header(make, estimate.frame.stamp_ns, estimate.frame.frame_id),
        state=LOST if estimate.odometry.lost else full,
        window_fill=estimate.window_fill,
        window_size=size,
        **milliseconds,
        frame_age=float(frame_age),
        received=received,
        processed=processed,
        dropped=dropped,
        scale=float(estimate.odometry.scale),
        metric=bool(estimate.odometry.metric),
        scale_state=estimate.odometry.scale_state,
        calibrated=bool(estimate.calibrated),
        bodies=[encode.moving_body(make, b, body.T_odom_world) for b in estimate.bodies],
        **_weights(engine),
    )


def idle_status(
    make: MessageFactory,
    stamp_ns: int,
    state: int,
    config: Config,
    engine: Engine,
    *,
    received: int,
    processed: int,
    dropped: int,
) -> Any:
    """page4d_ros/PerceptionStatus while no estimate comes: WAITING or PAUSED."""
    return make(
        'page4d_ros/msg/PerceptionStatus',
        header=encode.header(make, stamp_ns, ''),
        state=state,
        window_fill=0,
        window_size=config.window.size,
        **dict.fromkeys([f'{name}_ms' for name in STAGES], 0.0),
        frame_age=0.0,
        received=received,
        processed=processed,
        dropped=dropped,
        scale=0.0,
        metric=False,
        scale_state='',
        calibrated=False,
        bodies=[],
        **_weights(engine),
    )


def _weights(engine: Engine) -> dict[str, Any]:
    return {
        'checkpoint': engine.name,
        'trained': bool(engine.trained),
        'purpose': engine.purpose,
        'device': str(engine.device),
    }
