"""Boxes, arrows and labels of moving bodies."""

import numpy as np
import pytest
from fakes import PlainMessages
from scipy.spatial.transform import Rotation

from page4d_ros.bags.factory import BagMessages, typestore
from page4d_ros.geometry.poses import transform
from page4d_ros.messages import encode
from page4d_ros.messages.markers import ADD, ARROW, CUBE, DELETE_ALL, TEXT, body_markers
from page4d_ros.messages.topics import MARKERS
from page4d_ros.perception.types import MovingBody

T = transform(Rotation.from_euler('z', 90, degrees=True).as_matrix(), (1.0, 0.0, 0.0))
BODIES = [
    MovingBody(7, np.array([2.0, 0, 0]), np.array([1.0, 2, 3]), np.array([0.5, 0, 0]), 0.9, 0),
    MovingBody(8, np.array([0.0, 1, 0]), np.array([0.0, 1, 1]), np.zeros(3), 0.6, 0),
]


def markers_of(bodies, make=None, metric=True):
    make = make or PlainMessages()
    head = encode.header(make, 5_000_000_001, 'odom')
    return body_markers(make, head, bodies, T, metric=metric)


def xyz(message):
    return np.array([message.x, message.y, message.z])


def test_each_body_has_a_box_a_label_and_if_it_moves_an_arrow():
    first, *others = markers_of(BODIES).markers
    assert (first.action, len(others)) == (DELETE_ALL, 5)
    assert {m.action for m in others} == {ADD}
    assert [(m.ns, m.id, m.type) for m in others] == [
        ('boxes', 7, CUBE),
        ('labels', 7, TEXT),
        ('speeds', 7, ARROW),
        ('boxes', 8, CUBE),
        ('labels', 8, TEXT),
    ]
    box, label, arrow, flat, still = others
    np.testing.assert_allclose(xyz(box.pose.position), (1, 2, 0), atol=1e-12)
    np.testing.assert_allclose(xyz(box.scale), (2, 1, 3), atol=1e-12)  # turned by 90 degrees
    tail, tip = map(xyz, arrow.points)
    np.testing.assert_allclose(tail, (1, 2, 0), atol=1e-12)
    np.testing.assert_allclose(tip - tail, (0, 0.5, 0), atol=1e-12)  # of a second
    assert label.pose.position.z > 1.5
    assert (label.text, still.text) == ('7: 0.50 m/s', '8: 0.00 m/s')
    assert min(xyz(flat.scale)) > 0
    colours = {(m.color.r, m.color.g, m.color.b) for m in (box, flat)}
    assert len(colours) == 2
    assert all(m.color.a > 0 for m in others)
    assert all(m.header.stamp.nanosec == 1 and m.header.frame_id == 'odom' for m in others)


def test_without_bodies_the_last_ones_vanish():
    (only,) = markers_of([]).markers
    assert only.action == DELETE_ALL


def test_lengths_that_are_no_metres_are_not_called_so():
    assert markers_of(BODIES[:1], metric=False).markers[2].text == '7: 0.50 units/s'


@pytest.mark.parametrize('bodies', [BODIES, []])
def test_recordings_hold_them(bodies):
    store = typestore()
    message = markers_of(bodies, BagMessages())
    data = store.serialize_cdr(message, MARKERS)
    again = store.deserialize_cdr(data, MARKERS)
    assert [m.text for m in again.markers] == [m.text for m in message.markers]


def test_the_constants_are_those_of_the_message():
    kinds = typestore().types['visualization_msgs/msg/Marker']
    assert (kinds.ARROW, kinds.CUBE, kinds.TEXT_VIEW_FACING) == (ARROW, CUBE, TEXT)
    assert (kinds.ADD, kinds.DELETEALL) == (ADD, DELETE_ALL)
