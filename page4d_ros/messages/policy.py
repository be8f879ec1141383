"""SROS 2 policy of the node: who may publish, subscribe and serve what, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

from page4d_ros.messages.topics import (
    DIAGNOSTICS_TOPIC,
    ON_REQUEST,
    OPTIONAL,
    OUTPUTS,
    SERVICES,
    of_camera,
    outputs,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VERSION = '0.2.0'  # of the format
OF_CAMERA = 'camera_info', 'image', 'image/compressed'  # inputs
SUBSCRIBED = '/clock', '/tf', '/tf_static', 'scale/depth', 'scale/odom'
PUBLISHED = (
    DIAGNOSTICS_TOPIC,
    '/parameter_events',
    '/rosout',
    '/tf',
    '/tf_static',
    '~/transition_event',
)
SERVED = (
    # lifecycle
    '~/change_state', '~/get_available_states', '~/get_available_transitions', '~/get_state',
    '~/get_transition_graph',
    # parameters and types
    '~/describe_parameters', '~/get_parameter_types', '~/get_parameters',
    '~/get_type_description', '~/list_parameters', '~/set_parameters',
    '~/set_parameters_atomically',
    *(f'~/{service.name}' for service in SERVICES),
)  # fmt: skip


def published(cameras: Sequence[str] = ()) -> set[str]:
    """Topics that a node with these cameras may publish."""
    every = outputs(cameras, (*OUTPUTS, *ON_REQUEST, *OPTIONAL))
    return {topic.name for topic in every} | set(PUBLISHED)


def subscribed(cameras: Sequence[str] = ()) -> set[str]:
    """Topics that a node with these cameras may subscribe to."""
    return {of_camera(n, camera) for camera in cameras or [''] for n in OF_CAMERA} | {*SUBSCRIBED}


def policy(cameras: Sequence[str] = (), namespace: str = '/', name: str = 'page4d') -> str:
    """Text of a policy file for ``ros2 security create_permission``.

    Args:
        cameras: names of a rig's cameras; empty for one without a name.
        namespace: of the node.
        name: of the node.
    """
    root = Xml.Element('policy', version=VERSION)
    place = namespace.rstrip('/')
    enclave = Xml.SubElement(Xml.SubElement(root, 'enclaves'), 'enclave', path=f'{place}/{name}')
    profile = Xml.SubElement(
        Xml.SubElement(enclave, 'profiles'), 'profile', ns=namespace, node=name
    )
    _allow(profile, 'topics', 'publish', published(cameras))
    _allow(profile, 'topics', 'subscribe', subscribed(cameras))
    _allow(profile, 'services', 'reply', SERVED)
    Xml.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(root, encoding="unicode")}\n'


def _allow(profile: Xml.Element, kind: str, verb: str, names: Iterable[str]) -> None:
    group = Xml.SubElement(profile, kind, {verb: 'ALLOW'})
    for name in sorted(names):
        Xml.SubElement(group, kind.removesuffix('s')).text = name
