"""Names and parameters that the launch files make of their arguments, without launch itself.

`given` maps the names of arguments to texts; those that are not declared yet count as empty. The
launch files run as they are on Humble, Jazzy, Kilted and Rolling; a difference would go here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TF = '/tf', '/tf_static'


def within(outer: str, inner: str) -> str:
    """Absolute namespace of `inner`, which is relative to `outer` or absolute; "" is the root."""
    parts = inner.split('/') if inner.startswith('/') else [*outer.split('/'), *inner.split('/')]
    return ''.join(f'/{part}' for part in parts if part)


def namespace(given: Mapping[str, str]) -> str:
    """Namespace of the node, as launch takes it: absolute if the user's begins with a slash."""
    names = (given.get('namespace', ''), given.get('camera_name', ''))
    return '/'.join(name for name in names if name)


def tf_remappings(given: Mapping[str, str], outer: str) -> list[tuple[str, str]]:
    """Topics of tf in the robot's namespace, if asked; `outer` is the one around the file's."""
    if given.get('remap_tf') != 'true':
        return []
    robot = within(outer, given.get('namespace', ''))
    return [(name, f'{robot}{name}') for name in TF]


def clock(given: Mapping[str, str]) -> dict[str, bool]:
    """Parameter that chooses the clock, of every node; none where nothing is asked."""
    asked = 'true' if given.get('bag') else given.get('use_sim_time')
    return {'use_sim_time': asked == 'true'} if asked else {}


def cameras(given: Mapping[str, str]) -> dict[str, str]:
    """Topic of the images of each camera of a rig, by name; empty without a rig."""
    pairs = (word.partition('=') for word in given.get('cameras', '').split())
    return {name: topic or f'{name}/image' for name, _, topic in pairs}


def prefixes(given: Mapping[str, str]) -> list[str]:
    """Beginning of the names of each camera's outputs, the main one's first."""
    return [f'{name}/' for name in cameras(given)] or ['']


def need(package: str, why: str, find: Callable[[str], str]) -> None:
    """Refuse to go on without another package, before anything starts that nobody would stop.

    Args:
        package: its name.
        why: what needs it.
        find: returns where a package is installed, or raises LookupError.

    Raises:
        RuntimeError: it is not installed.
    """
    try:
        find(package)
    except LookupError as error:
        raise RuntimeError(f'{why} needs {package}, which is not installed') from error
