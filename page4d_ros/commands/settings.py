"""Settings from parameter files and from NAME=VALUE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from page4d_ros.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from page4d_ros.config import Value

ROS_PARAMETERS = 'ros__parameters'
NODES = ('/**', 'page4d', '/page4d', '/**/page4d')
OF_RCLPY = ('use_sim_time', 'qos_overrides.')  # parameters that are no settings


def file_values(path: Path) -> dict[str, Value]:
    """Settings of a ROS parameter file for the node ``page4d``, or of a plain mapping.

    Raises:
        ConfigError: the file cannot be read.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ='safe').load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f'{path}: is no parameter file ({reason})') from error
    if not isinstance(content, dict):
        raise ConfigError(f'{path}: holds no parameters; config/perception.yaml is an example')
    named = [content[n] for n in NODES if isinstance(content.get(n), dict)]
    nodes = [node[ROS_PARAMETERS] or {} for node in named if ROS_PARAMETERS in node]
    out: dict[str, Value] = {}
    for parameters in nodes or [content]:
        if not isinstance(parameters, dict):
            raise ConfigError(f'{path}: {ROS_PARAMETERS} is no mapping of names to values')
        out |= _flat(parameters)
    return {name: value for name, value in out.items() if not name.startswith(OF_RCLPY)}


def _flat(values: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    out = {}
    for name, value in values.items():
        out |= (
            _flat(value, f'{prefix}{name}.')
            if isinstance(value, dict)
            else {f'{prefix}{name}': value}
        )
    return out


def parse_assignment(text: str) -> tuple[str, Value]:
    """Name and value of ``window.size=4``; the value is a YAML scalar.

    Raises:
        ConfigError: there is no equals sign, or no value that YAML knows.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    name, sign, value = text.partition('=')
    if not sign:
        raise ConfigError(f'--set {text}: expected NAME=VALUE, such as --set window.size=4')
    try:
        found = YAML(typ='safe').load(value)
    except YAMLError as error:
        raise ConfigError(f'--set {text}: {value!r} is no value') from error
    return name.strip(), '' if found is None else found
