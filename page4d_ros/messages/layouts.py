"""Layouts of RViz and Foxglove for the names, cameras and frames of a node.

They are those of ``config/``, which are for one camera, with the displays of each camera.
"""

from __future__ import annotations

import io
import json
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from page4d_ros.messages.topics import (
    DIAGNOSTICS_TOPIC,
    ON_REQUEST,
    OPTIONAL,
    OUTPUTS,
    STATUS_TOPIC,
    of_camera,
)
from page4d_ros.share import share_file

if TYPE_CHECKING:
    from collections.abc import Sequence

RVIZ, FOXGLOVE = 'config/perception.rviz', 'config/foxglove.json'
OF_CAMERA = {topic.name for topic in (*OUTPUTS, *ON_REQUEST, *OPTIONAL) if topic.per_camera}
STATUS = STATUS_TOPIC.replace('~', '/page4d')  # in the layout for one camera


@dataclass(frozen=True)
class Shown:
    """A node as a layout shows it.

    Attributes:
        cameras: names of a rig's cameras; empty for one camera.
        namespace: absolute; "" for none. RViz has that of its own process.
        node: name without namespace.
        odom: frame of the trajectory.
        base: frame that the view follows.
    """

    cameras: Sequence[str] = ()
    namespace: str = ''
    node: str = 'page4d'
    odom: str = 'odom'
    base: str = 'base_link'

    def of(self, topic: str) -> list[tuple[str, str]]:
        """(Camera, relative topic) of each camera that has it; ("", topic) of the node itself."""
        cameras = self.cameras if topic in OF_CAMERA and self.cameras else ['']
        return [(camera, of_camera(topic, camera)) for camera in cameras]

    def absolute(self, text: str) -> list[tuple[str, str]]:
        """(Camera, absolute topic), likewise, of a topic of the layout and a field behind it."""
        topic, dot, field = text.partition('.')
        if topic == DIAGNOSTICS_TOPIC:
            return [('', text)]
        if topic == STATUS:
            return [('', f'{self.namespace}/{self.node}/status{dot}{field}')]
        return [(camera, f'{self.namespace}/{name}') for camera, name in self.of(topic[1:])]


def rviz(shown: Shown) -> str:
    """Configuration of RViz (YAML); its topics are relative, for ``rviz2`` in the namespace."""
    content = YAML().load(share_file(RVIZ).read_text())
    manager = content['Visualization Manager']
    manager['Global Options']['Fixed Frame'] = shown.odom
    manager['Displays'] = [
        display for each in manager['Displays'] for display in _displays(each, shown)
    ]
    text = io.StringIO()
    YAML().dump(content, text)
    return text.getvalue()


def _displays(display: dict[str, Any], shown: Shown) -> list[dict[str, Any]]:
    """A display for each camera that has its topic."""
    if 'Topic' not in display:
        return [display]
    out = []
    for camera, topic in shown.of(display['Topic']['Value']):
        out.append(deepcopy(display))
        out[-1]['Topic']['Value'] = topic
        out[-1]['Name'] = f'{camera}: {display["Name"]}' if camera else display['Name']
    return out


def foxglove(shown: Shown) -> str:
    """Layout of Foxglove (JSON); its topics are absolute."""
    content = json.loads(share_file(FOXGLOVE).read_text())
    panels, places = {}, {}
    for name, panel in content['configById'].items():
        made = _panels(name, panel, shown)
        places[name] = _beside(list(made))
        panels |= made
    layout = _replaced(content['layout'], places)
    return json.dumps(content | {'configById': panels, 'layout': layout}, indent=2) + '\n'


def _panels(name: str, panel: dict[str, Any], shown: Shown) -> dict[str, dict[str, Any]]:
    """Panels by name that show what a panel shows of one camera; an image has one each."""
    if 'imageTopic' in panel.get('imageMode', {}):
        mode = panel['imageMode']
        out = {}
        for (camera, image), (_, info) in zip(
            shown.absolute(mode['imageTopic']),
            shown.absolute(mode['calibrationTopic']),
            strict=True,
        ):
            topics = {'imageTopic': image, 'calibrationTopic': info}
            own = panel | {'foxglovePanelTitle': image, 'imageMode': mode | topics}
            out[f'{name}_{camera}' if camera else name] = own
        return out
    return {name: _retold(panel, shown)}


def _retold(tree: Any, shown: Shown) -> Any:
    """A panel's settings with the node's topics and frames, those of each camera as keys."""
    if isinstance(tree, dict):
        return {
            topic: _retold(value, shown)
            for key, value in tree.items()
            for _, topic in (shown.absolute(key) if key.startswith('/') else [('', key)])
        } | {
            key: frame
            for key, frame in (('followTf', shown.base), ('frameId', shown.odom))
            if key in tree
        }
    if isinstance(tree, list):
        return [_retold(value, shown) for value in tree]
    if isinstance(tree, str) and tree.startswith('/'):
        return shown.absolute(tree)[0][1]
    return tree


def _beside(names: list[str]) -> Any:
    """Place of panels beside each other, of equal widths."""
    if len(names) == 1:
        return names[0]
    share = 100 / len(names)
    rest = _beside(names[1:])
    return {'direction': 'row', 'first': names[0], 'second': rest, 'splitPercentage': share}


def _replaced(layout: Any, places: dict[str, Any]) -> Any:
    """Layout with other places instead of its panels."""
    if isinstance(layout, str):
        return places[layout]
    return {
        key: _replaced(value, places) if key in {'first', 'second'} else value
        for key, value in layout.items()
    }
