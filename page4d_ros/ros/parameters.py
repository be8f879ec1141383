"""Parameters of the node, declared from the settings by one loop."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.parameter import Parameter

from page4d_ros.config import RCLPY_PARAMETERS, Config
from page4d_ros.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.node import Node

    from page4d_ros.settings import Setting

OTHERS = (*RCLPY_PARAMETERS, 'start_type_description_service')  # rclpy's own
TYPES = {kind.value for kind in Parameter.Type}


def declare(node: Node) -> Config:
    """Declare every setting and return what the user gave.

    Raises:
        ConfigError: an override has a wrong type or is out of range.
    """
    for name, leaf in Config.leaves().items():
        default = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
        node.declare_parameter(name, default, descriptor(leaf), ignore_override=False)
    return read(node)


def complaints(node: Node) -> list[str]:
    """Complaints about parameters that the user gave and the node does not have."""
    out = []
    given = node._parameter_overrides
    for name in given:
        if name in Config.leaves() or name.startswith(OTHERS):
            continue
        try:
            Config().with_values({name: given[name].value})
        except ConfigError as error:
            out.append(str(error))
    return out


def descriptor(leaf: Setting) -> ParameterDescriptor:
    """Description and range of one setting, for ``ros2 param describe`` and rqt."""
    notes = [f'one of: {", ".join(leaf.choices)}'] if leaf.choices else []
    if not leaf.dynamic:
        notes.append('fixed once the node is configured')
    out = ParameterDescriptor(
        description=leaf.doc,
        additional_constraints='; '.join(notes),
        # `5` must do for a float, and a wrong type is answered by our own message
        dynamic_typing=True,
    )
    if leaf.low is not None and isinstance(leaf.default, float):
        out.floating_point_range = [
            FloatingPointRange(from_value=float(leaf.low), to_value=float(leaf.high))
        ]
    elif leaf.low is not None:
        out.integer_range = [
            IntegerRange(from_value=int(leaf.low), to_value=int(leaf.high), step=1)
        ]
    return out


def read(node: Node) -> Config:
    """Read all settings from the node's parameters.

    Raises:
        ConfigError: a value has a wrong type or is out of range.
    """
    leaves = Config.leaves().items()
    values = {name: _plain(leaf, node.get_parameter(name).value) for name, leaf in leaves}
    return Config().with_values(values)


def _plain(leaf: Setting, value: Any) -> Any:
    """Value of a parameter as settings have it; an empty list in a file arrives as None."""
    if not isinstance(leaf.default, tuple):
        return value
    return tuple(value) if isinstance(value, list | tuple | array) else value or ()


def changed(config: Config, parameters: list[Parameter], *, configured: bool) -> Config:
    """Apply requested parameter changes to the settings; parameters of others are ignored.

    Raises:
        ConfigError: the change is not possible, or not while the node is configured.
    """
    known = Config.leaves()
    ours = {p.name: _plain(known[p.name], p.value) for p in parameters if p.name in known}
    fixed = [
        name
        for name, value in ours.items()
        if not known[name].dynamic and value != config.value(name)
    ]
    if configured and fixed:
        raise ConfigError(
            f'{", ".join(fixed)}: fixed while the node is configured; call the lifecycle '
            'transition cleanup first'
        )
    return config.with_values(ours)


def checks_types(callback: Callable) -> Callable:
    """Callback of a service that sets parameters, which refuses types that do not exist.

    rclpy raises ValueError for them, when some of the parameters may be set already.
    """

    def set_parameters(request: Any, response: Any) -> Any:
        unknown = [
            f'{item.name}: there is no parameter type {item.value.type}'
            for item in request.parameters
            if item.value.type not in TYPES
        ]
        if not unknown:
            return callback(request, response)
        refused = SetParametersResult(successful=False, reason='; '.join(unknown))
        if hasattr(response, 'results'):
            response.results = [refused for _ in request.parameters]
        else:
            response.result = refused
        return response

    return set_parameters
