"""The dashboard shows what a status says, whatever it says."""

import io

import numpy as np
import pytest
from rich.console import Console

from page4d_ros.bags.factory import BagMessages
from page4d_ros.dashboard import BRAILLE, NodeState, dashboard, top_view
from page4d_ros.messages.status import KIND, STAGES, TRACKING

MAKE = BagMessages()


def status(**changes):
    stamp = MAKE('builtin_interfaces/msg/Time', sec=1, nanosec=0)
    fields = {
        'header': MAKE('std_msgs/msg/Header', stamp=stamp, frame_id='camera'),
        'state': TRACKING, 'window_fill': 6, 'window_size': 8,
        **{f'{name}_ms': 10.0 * i for i, name in enumerate(STAGES)},
        'frame_age': 0.123, 'received': 100, 'processed': 90, 'dropped': 10, 'scale': 1.5,
        'metric': True, 'scale_state': 'fixed', 'calibrated': True, 'network_trust': 0.75,
        'relies_on': 'network and points', 'bodies': [], 'checkpoint': 'page4d-small',
        'trained': True, 'purpose': '', 'device': 'cpu',
    }  # fmt: skip
    return MAKE(KIND, **fields | changes)


def drawn(*nodes, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(dashboard(nodes))
    return console.export_text()


def test_all_that_a_status_says_is_shown():
    node = NodeState('/front/page4d')
    node.saw_status(status(received=70, processed=60))
    node.saw_status(status())
    text = drawn(node)
    for shown in (
        '/front/page4d', 'tracking', '123 ms', '40.0 ms', '6 of 8', '0.75', 'network and points',
        '1.5, fixed, metres', '10 of 100 (10%)', 'page4d-small on cpu', 'path from above',
    ):  # fmt: skip
        assert shown in text


def test_rates_are_those_of_the_last_seconds():
    node = NodeState('/page4d')
    assert np.isnan(node.rates()).all()
    for second in range(11):
        node.saw_status(status(received=30 * second, processed=15 * second), now=float(second))
    assert node.rates() == (30.0, 15.0)
    node.saw_status(status(received=3, processed=1), now=11.0)  # the node began anew
    assert np.isnan(node.rates()).all()
    assert node.silence(now=14.0) == 3.0


def test_several_nodes_and_one_that_has_said_nothing():
    lost = NodeState('/b/page4d')
    lost.saw_status(status(state=3))
    text = drawn(lost, NodeState('/a/page4d'))
    assert text.index('/a/page4d') < text.index('/b/page4d')
    assert 'no status yet' in text
    assert 'lost' in text


def test_a_silent_node_is_told():
    node = NodeState('/page4d')
    node.saw_status(status(), now=-100.0)
    assert 'silent for' in drawn(node)


@pytest.mark.parametrize(
    'changes',
    [
        {'state': 77, 'relies_on': '', 'scale_state': ''},
        {'received': 0, 'dropped': 0, 'window_size': 0, 'window_fill': 0},
        {'forward_ms': float('nan'), 'network_trust': float('nan'), 'frame_age': float('inf')},
        {'checkpoint': 'forged\x1b[2J\n', 'device': '[bold]x[/bold]'},
    ],
)
def test_nothing_that_a_status_holds_breaks_it(changes):
    node = NodeState('/page4d')
    node.saw_status(status(**changes))
    assert '\x1b' not in drawn(node, width=60)


def dots_of(lines):
    return sum(bin(ord(c) - BRAILLE).count('1') for line in lines for c in line if c != '●')


def test_a_path_is_drawn_from_above():
    ahead = np.stack([np.linspace(0, 10, 500), np.zeros(500)], -1)
    lines, extent = top_view(ahead, 20, 8)
    assert extent == pytest.approx(10.0)
    assert [len(line) for line in lines] == [20] * 8
    marked = [line.index('●') for line in lines if '●' in line]
    assert '●' in lines[0]  # x is up
    assert marked in ([9], [10])
    assert dots_of(lines) == 32 - 4  # all rows of dots but those that the mark hides
    left = ahead[:, ::-1]
    lines, _ = top_view(left, 20, 8)
    assert max(line.find('●') for line in lines) == 0  # y is left


@pytest.mark.parametrize(
    'positions', [[], [[1.0, 2.0]], [[np.nan, 0.0], [1e300, -1e300], [0.0, 0.0]]]
)
def test_paths_that_are_hardly_any(positions):
    lines, extent = top_view(np.array(positions).reshape(-1, 2), 10, 4)
    assert [len(line) for line in lines] == [10] * 4
    assert extent > 0
