"""Key and value pairs of the diagnostics of a node that is active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.messages.status import STAGES

if TYPE_CHECKING:
    from page4d_ros.ros.session import Session

MIB = 1 << 20


def values(session: Session) -> dict[str, Any]:
    """Rates, times, drops, memory, scale, trust and weights, as texts or numbers."""
    return {
        **_engine(session),
        **_rates(session),
        **_estimate(session.sink.last_status),
        **_memory(session.perception.engine.device),
        **session.cameras.values(),
    }


def _engine(session: Session) -> dict[str, Any]:
    engine = session.perception.engine
    return {
        'checkpoint': engine.name,
        'device': engine.runs_on,
        'backend': engine.runs_on.rpartition(', ')[2],
    }


def _rates(session: Session) -> dict[str, Any]:
    counts, health = session.runner.counts, session.health
    dropped = sorted(dict(session.intake.dropped).items())  # a copy: other threads count
    return {
        'images received': counts.received,
        'images per second': ', '.join(f'{camera.rates()[1]:.1f}' for camera in session.inputs),
        'estimates': counts.processed,
        'estimates per second': f'{health.rate():.2f}',
        'frame age [s]': f'{health.age:.3f}',
        **{f'dropped {reason}': count for reason, count in dropped},
    }


def _estimate(last: Any | None) -> dict[str, Any]:
    """Values of the newest PerceptionStatus; unknown before the first."""
    if last is None:
        names = ('scale', 'scale from', 'network trust', 'pose relies on', 'window')
        return dict.fromkeys(names, 'unknown') | {'metric': False}
    return {
        'scale': f'{last.scale:.4f}',
        'metric': last.metric,
        'scale from': last.scale_state,
        'network trust': f'{last.network_trust:.2f}',
        'pose relies on': last.relies_on,
        'window': f'{last.window_fill} of {last.window_size}',
        **{f'{stage} [ms]': f'{getattr(last, f"{stage}_ms"):.1f}' for stage in STAGES},
    }


def _memory(device: Any) -> dict[str, Any]:
    from page4d_ros.perception.memory import resident_bytes, taken_bytes

    out = {'memory of the process [MiB]': f'{resident_bytes() / MIB:.0f}'}
    if device.type == 'cuda':
        out['memory of the device [MiB]'] = f'{taken_bytes(device) / MIB:.0f}'
    return out
