"""The status message, whatever makes it."""

from types import SimpleNamespace

import pytest

from page4d_ros.messages.status import knows_place
from page4d_ros.perception.trust import TRUSTED


@pytest.mark.parametrize(
    ('relies_on', 'trust', 'known'),
    [
        ('points', TRUSTED - 0.01, False),
        ('points', TRUSTED, True),
        ('network and points', 0.9, True),
        ('network', 0.0, True),  # corners are not used
        ('nothing', 0.1, True),  # lost, which the state says
        ('', 0.0, True),
    ],
)
def test_a_place_is_unknown_if_poses_are_by_corners_against_the_network(relies_on, trust, known):
    assert knows_place(SimpleNamespace(relies_on=relies_on, network_trust=trust)) is known
