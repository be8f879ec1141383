"""page4d_ros/PerceptionStatus: state, stage times and counters, with every estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.messages import encode
from page4d_ros.perception.trust import TRUSTED
from page4d_ros.perception.types import POINTS

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
UNKNOWN_PLACE = (
    'these weights do not know this place: poses are from image corners; depth and masks are not '
    'to be relied on'
)


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
        network_trust=float(estimate.odometry.network_trust),
        relies_on=estimate.odometry.relies_on,
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
        network_trust=0.0,
        relies_on='',
        bodies=[],
        **_common(config, engine, counts),
    )


def knows_place(message: Any) -> bool:
    """False if the pose is by corners because the network disagrees with them."""
    return message.relies_on != POINTS or message.network_trust >= TRUSTED


def _common(config: Config, engine: Engine, counts: Counts) -> dict[str, Any]:
    return {
        'window_size': config.window.size,
        **counts._asdict(),
        'checkpoint': engine.name,
        'trained': bool(engine.trained),
        'purpose': engine.purpose,
        'device': engine.runs_on,
    }
