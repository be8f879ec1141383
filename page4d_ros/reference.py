"""Tables of topics, services and parameters, from the code that makes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from page4d_ros.config import Config
from page4d_ros.messages.topics import (
    DIAGNOSTICS_TOPIC,
    ON_REQUEST,
    OPTIONAL,
    OUTPUTS,
    SERVICES,
    Topic,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD = """# Reference: topics, services, parameters

Printed by `page4d reference`, and compared by a test. The [README](../README.md#topics) says more.
"""
ELSEWHERE = (
    Topic('/tf', 'tf2_msgs/msg/TFMessage', depth=100, gated=False, per_camera=False),
    Topic(
        DIAGNOSTICS_TOPIC,
        'diagnostic_msgs/msg/DiagnosticArray',
        depth=10,
        gated=False,
        per_camera=False,
    ),
)
TOPIC_HEAD = 'topic', 'type', 'queue', 'computed', 'of', 'recorded'
SERVICE_HEAD = 'service', 'type', 'effect'
PARAMETER_HEAD = 'parameter', 'default', 'range', 'live', 'meaning'


def reference() -> str:
    """Text of docs/reference.md."""
    parts = [HEAD, '## Topics\n', 'Published; all are reliable. Inputs are in the README.\n']
    parts += [_table(TOPIC_HEAD, _topics())]
    parts += ['## Services\n', _table(SERVICE_HEAD, _services())]
    parts += [
        '## Parameters\n',
        'Those that are *live* may be changed while the node runs.\n',
        _table(PARAMETER_HEAD, _parameters()),
    ]
    return '\n'.join(parts)


def _topics() -> Iterable[tuple[str, ...]]:
    recorded = dict.fromkeys(OUTPUTS, 'always') | dict.fromkeys(ELSEWHERE, 'always')
    recorded |= dict.fromkeys(ON_REQUEST, 'if named')
    recorded |= dict.fromkeys(OPTIONAL, 'if named, and its types are installed')
    for topic, when in sorted(recorded.items(), key=lambda item: item[0].name.lstrip('~/')):
        computed = 'while subscribed' if topic.gated else 'always'
        if topic.needs_base:
            computed += ', with `frames.base`'
        of = 'each camera' if topic.per_camera else 'the node'
        yield f'`{topic.name}`', f'`{topic.type}`', str(topic.depth), computed, of, when


def _services() -> Iterable[tuple[str, ...]]:
    for service in SERVICES:
        yield f'`~/{service.name}`', f'`{service.type}`', service.text


def _parameters() -> Iterable[tuple[str, ...]]:
    for name, leaf in Config.leaves().items():
        limits = ''
        if leaf.low is not None and leaf.high is not None:
            limits = f'{leaf.low:g} to {leaf.high:g}'
        if leaf.choices:
            limits = ', '.join(map(str, leaf.choices))
        default = f'`{json.dumps(leaf.default)}`'
        yield f'`{name}`', default, limits, 'live' if leaf.dynamic else '', leaf.doc


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ('---',) * len(head), *rows]
    escaped = (tuple(cell.replace('|', '\\|') for cell in line) for line in lines)
    return '\n'.join(f'| {" | ".join(line)} |' for line in escaped) + '\n'
