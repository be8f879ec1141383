"""Services of the node: reset, reset_window, set_pose, pause, save_trajectory, save_cloud."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from page4d_ros.errors import Page4dError
from page4d_ros.geometry.poses import from_quaternion
from page4d_ros.messages.decode import stamp_ns
from page4d_ros.messages.files import cloud_files, save_in
from page4d_ros.messages.topics import SERVICES
from page4d_ros.messages.trajectory import SUFFIXES, trajectory_files
from page4d_ros.messages.transforms import is_rigid
from page4d_ros.ros.compat import message_class

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from page4d_ros.config import Config
    from page4d_ros.ros.session import Session


class ServingNode(Protocol):
    """Node that the services act upon.

    Attributes:
        config: present settings.
        session: configured perception; None before.
        active: True if it works.
    """

    config: Config
    session: Session | None
    active: bool

    def create_service(self, kind: type, name: str, callback: Callable) -> Any:
        """Offer a service."""

    def get_fully_qualified_name(self) -> str:
        """Namespace and name."""


def offer(node: ServingNode) -> None:
    """Create the services of a node."""
    answers = {
        'reset': _reset,
        'reset_window': _reset_window,
        'set_pose': _set_pose,
        'pause': _pause,
        'save_trajectory': _save_trajectory,
        'save_cloud': _save_cloud,
    }
    for service in SERVICES:
        answer = partial(_answer, node, answers[service.name])
        node.create_service(message_class(service.type), f'~/{service.name}', answer)


def _answer(node: ServingNode, answer: Callable, request: Any, response: Any) -> Any:
    """Fill a response in with the text of an answer, or with why there is none."""
    try:
        response.message = answer(node, request)
        response.success = True
    except Page4dError as error:
        response.message = str(error)
    return response


def _session(node: ServingNode, *, active: bool = False) -> Session:
    if node.session is None:
        raise Page4dError('not configured')
    if active and not node.active:
        raise Page4dError('not active')
    return node.session


def _reset(node: ServingNode, _request: Any) -> str:
    _session(node, active=True).reset()
    return 'the next pose is identity'


def _reset_window(node: ServingNode, _request: Any) -> str:
    _session(node, active=True).reset_window()
    return 'a new window begins at the present pose'


def _set_pose(node: ServingNode, request: Any) -> str:
    odom, pose = node.config.frames.odom, request.pose.pose
    if request.pose.header.frame_id not in {'', odom}:
        raise Page4dError(
            f'the pose is in {request.pose.header.frame_id!r}; transform it to {odom!r}'
        )
    p, q = pose.position, pose.orientation
    if not is_rigid((q.x, q.y, q.z, q.w), (p.x, p.y, p.z)):
        raise Page4dError('the pose is none: give finite numbers, and a unit quaternion')
    _session(node, active=True).place(from_quaternion((q.x, q.y, q.z, q.w), (p.x, p.y, p.z)))
    return f'at ({p.x:g}, {p.y:g}, {p.z:g}) in {odom}; path and cloud begin anew'


def _pause(node: ServingNode, request: Any) -> str:
    _session(node).pause(paused=request.data)
    return 'paused' if request.data else 'running'


def _save_trajectory(node: ServingNode, _request: Any) -> str:
    """Write the poses of the camera's optical frame, the newest ``path.max_poses``."""
    session = _session(node)
    with session.runner.publishing:
        poses = session.sink.outputs.trajectory()
    if not poses:
        raise Page4dError('there is no pose yet')
    path = _save(node, f'{poses[-1][0]}', trajectory_files(poses))
    others = ' and '.join(SUFFIXES[1:])
    return f'{path}: the newest {len(poses)} poses (path.max_poses); beside it {others}'


def _save_cloud(node: ServingNode, _request: Any) -> str:
    """Write the static points along the trajectory, in odom."""
    session = _session(node)
    points, forgotten = _gathered(session)
    if not len(points):
        raise Page4dError(
            'there are no static points yet'
            if node.config.map.voxel
            else 'no points are kept: set map.voxel to the edge of a cube, such as 0.05, and drive'
        )
    files = cloud_files(points, node.config.frames.odom)
    path = _save(node, f'cloud_{stamp_ns(session.sink.last_status.header)}', files)
    lost = f'; {forgotten} older ones were forgotten (map.max_points)' if forgotten else ''
    return f'{path}: {len(points)} points; beside it .pcd{lost}'


def _gathered(session: Session) -> tuple[NDArray, int]:
    with session.runner.publishing:
        gathered = session.sink.outputs.map
        return gathered.points(session.sink.base_frame.T_odom_world), gathered.forgotten


def _save(node: ServingNode, what: str, files: dict[str, bytes]) -> Path:
    folder = node.config.path.folder or os.environ.get('ROS_HOME') or '~/.ros'
    name = node.get_fully_qualified_name().strip('/').replace('/', '_')
    return save_in(folder, f'{name}_{what}', files)
