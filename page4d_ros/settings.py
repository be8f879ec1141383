"""Trees of settings: frozen dataclasses whose leaves carry description, range and choices.

The node's parameters (`page4d_ros.config`) and the recipes of training
(`page4d_ros.training.recipe`) are both trees of `Settings`. A leaf is known by its dotted name,
such as ``window.size``.
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from page4d_ros.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

DEEPEST, LARGEST = 32, 100_000  # levels and values of a file of settings
Tree = TypeVar('Tree', bound='Settings')


@dataclass(frozen=True)
class Setting:
    """Default, description and limits of one leaf.

    Attributes:
        default: bool, int, float, str, tuple or dict; a value must have its type. A tuple of
            `Settings` is a list of groups.
        doc: one sentence; a unit where there is one.
        low: smallest allowed number; None where unbounded.
        high: largest allowed number; None where unbounded.
        choices: allowed strings; empty where free.
        dynamic: may change later: while the node is active, or when a training run is resumed.
        check: returns a complaint about a value of the right type, '' where there is none. It
            completes a message that starts with the name; required for tuples and dicts.
    """

    default: Any
    doc: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False
    check: Callable[[Any], str] | None = None

    def checked(self, name: str, value: Any) -> Any:
        """Return a value in the type of the default.

        Args:
            name: dotted name, for messages.
            value: int serves for float, and list for tuple.

        Raises:
            ConfigError: wrong type or outside of the allowed range; the message names both.
        """
        kind = type(self.default)
        if kind is tuple and isinstance(value, list):
            value = tuple(value)
        if kind is tuple and self.default and isinstance(self.default[0], Settings):
            return self._groups(name, value)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind and not self._is_compound:
            raise ConfigError(f'{name}: expected {kind.__name__}, got {value!r}')
        if self.choices and value not in self.choices:
            raise ConfigError(f'{name}: {value!r} is not one of {", ".join(self.choices)}')
        if kind in {int, float}:
            low = -math.inf if self.low is None else self.low
            high = math.inf if self.high is None else self.high
            if not (low <= value <= high and math.isfinite(value)):
                raise ConfigError(f'{name}: {value} is outside [{low}, {high}]')
        complaint = self.check(value) if self.check else ''
        if complaint:
            raise ConfigError(f'{name}: {complaint}')
        return value

    @property
    def _is_compound(self) -> bool:
        return isinstance(self.default, tuple | dict)

    def _groups(self, name: str, value: Any) -> tuple[Settings, ...]:
        if not isinstance(value, tuple) or not value:
            raise ConfigError(f'{name}: expected a list of groups, got {value!r}')
        kind = type(self.default[0])
        return tuple(kind().with_values(group, f'{name}[{i}]') for i, group in enumerate(value))


def setting(default: Any, doc: str, **limits: Any) -> Any:
    """Dataclass field of one leaf; the arguments are those of `Setting`."""
    metadata = {'setting': Setting(default, doc, **limits)}
    if isinstance(default, dict):
        return field(default_factory=lambda: deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


class Settings:
    """Base of a tree: a frozen dataclass whose fields are leaves or other `Settings`.

    Attributes:
        RENAMED: present dotted names of leaves and groups by a former name.
    """

    RENAMED: ClassVar[dict[str, str]] = {}

    @classmethod
    def leaves(cls, prefix: str = '') -> dict[str, Setting]:
        """Every leaf by its dotted name, in the order of the source."""
        out: dict[str, Setting] = {}
        for item in fields(cls):
            if 'setting' in item.metadata:
                out[prefix + item.name] = item.metadata['setting']
            elif item.default_factory is not MISSING:
                out |= item.default_factory.leaves(f'{prefix}{item.name}.')
        return out

    def value(self, name: str) -> Any:
        """Value of one leaf by its dotted name."""
        found: Any = self
        for part in name.split('.'):
            found = getattr(found, part)
        return found

    def with_values(self: Tree, values: Any, where: str = '') -> Tree:
        """Copy with some leaves replaced.

        Args:
            values: a mapping; names are dotted, or nested mappings stand for groups.
            where: dotted name of this tree in a larger one, for messages.

        Raises:
            ConfigError: an unknown name, a wrong type, a value outside its range, or values that
                contradict each other.
        """
        if not isinstance(values, Mapping):
            subject = f'{where}: ' if where else ''
            raise ConfigError(f'{subject}expected settings by name, got {values!r}')
        known = self.leaves()
        where = f'{where}.' if where else ''
        changes: dict[str, Any] = {}
        for name, value in self._flat(values).items():
            if name not in known:
                raise ConfigError(self._unknown(where, name, value))
            changes[name] = known[name].checked(where + name, value)
        changed = self._replaced(changes)
        try:
            changed.check()
        except ConfigError as error:
            raise ConfigError(f'{where}{error}') from error
        return changed

    def check(self) -> None:
        """Compare leaves with each other; `with_values` calls it on the tree it returns.

        Raises:
            ConfigError: values that contradict each other.
        """

    def to_mapping(self) -> dict[str, Any]:
        """Nested mapping of plain values; `with_values` reads it."""
        return asdict(self)

    def differences(self: Tree, other: Tree) -> list[str]:
        """Dotted names of the leaves in which two trees differ."""
        return [name for name in self.leaves() if self.value(name) != other.value(name)]

    def _flat(self, values: Mapping[Any, Any], prefix: str = '') -> dict[str, Any]:
        """Values by dotted name; a leaf that is a mapping itself stays whole."""
        known, out = self.leaves(), {}
        for key, value in values.items():
            name = f'{prefix}{key}'
            if isinstance(value, Mapping) and name not in known:
                out |= self._flat(value, f'{name}.')
            else:
                out[name] = value
        return out

    def _replaced(self: Tree, changes: dict[str, Any]) -> Tree:
        here = {name: value for name, value in changes.items() if '.' not in name}
        below: dict[str, dict[str, Any]] = {}
        for name, value in changes.items():
            group, dot, rest = name.partition('.')
            if dot:
                below.setdefault(group, {})[rest] = value
        groups = {name: getattr(self, name)._replaced(part) for name, part in below.items()}
        return replace(self, **here, **groups)

    def _unknown(self, where: str, name: str, value: Any) -> str:
        """Message about a name that is no leaf."""
        for former, present in self.RENAMED.items():
            if name == former or name.startswith(f'{former}.'):
                return f'{where}{former} is now called {where}{present}'
        known = list(self.leaves())
        if any(leaf.startswith(f'{name}.') for leaf in known):
            return f'{where}{name}: expected settings by name, got {value!r}'
        group, dot, last = name.rpartition('.')
        prefix = group + dot
        siblings = {leaf.removeprefix(prefix): leaf for leaf in known if leaf.startswith(prefix)}
        near = [siblings[match] for match in get_close_matches(last, siblings, 3)]
        near = near or [leaf for leaf in known if leaf.rpartition('.')[2] == last]
        if near:
            return f'unknown setting {where + name!r}; did you mean {" or ".join(near)}?'
        names = dict.fromkeys(leaf.partition('.')[0] for leaf in siblings or known)
        return f'unknown setting {where + name!r}; there are {", ".join(names)}'


def commented_yaml(kind: type[Settings], indent: str = '') -> list[str]:
    """Lines of YAML: a tree of leaves and groups of leaves, with defaults, meanings and ranges."""
    lines: list[str] = []
    group = ''
    for path, leaf in kind.leaves().items():
        here, _, name = path.rpartition('.')
        if here != group:
            group = here
            lines += ['', f'{indent}{group}:'] if group else ['']
        inside = f'{indent}  ' if group else indent
        notes = []
        if leaf.low is not None and leaf.high is not None:
            notes.append(f'[{leaf.low:g}, {leaf.high:g}]')
        if leaf.dynamic:
            notes.append('[dynamic]')
        comment = ' '.join([leaf.doc, *notes])
        lines += [f'{inside}# {line}' for line in textwrap.wrap(comment, 96 - len(inside))]
        off = '# ' if leaf.default == () else ''  # an empty list has no type in ROS
        lines.append(f'{inside}{off}{name}: {json.dumps(leaf.default)}')
    return lines


def read_yaml(path: Path) -> Any:
    """Content of a YAML file; None where it is empty.

    Raises:
        ConfigError: the file is missing, or not YAML.
    """
    try:
        return parse_yaml(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'{path}: no such file ({error.strerror})') from error
    except ValueError as error:
        raise ConfigError(f'{path}: not a YAML file ({" ".join(str(error).split())})') from error


def parse_yaml(text: str) -> Any:
    """Plain values of a YAML document.

    Raises:
        ValueError: it is not YAML, or not a tree: deeper than `DEEPEST`, larger than `LARGEST`
            values once its aliases are written out, or part of itself.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        depth = 0
        for event in YAML(typ='safe').parse(text):  # one by one, however deep
            kind = type(event).__name__
            depth += kind.endswith('StartEvent') - kind.endswith('EndEvent')
            if depth > DEEPEST:
                raise ValueError(f'it is nested more than {DEEPEST} deep')
        found = YAML(typ='safe').load(text)
    except (YAMLError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError('it is part of itself') from error
    _check_tree(found)
    return found


def _check_tree(root: Any) -> None:
    """Refuse plain values that are not a tree of at most `DEEPEST` levels and `LARGEST` values.

    Raises:
        ValueError: says which.
    """
    waiting, count = [(root, 0)], 0
    while waiting:
        node, depth = waiting.pop()
        count += 1
        if depth > DEEPEST:
            raise ValueError('it is part of itself')
        if count > LARGEST:
            raise ValueError(f'it has more than {LARGEST} values')
        children = [*node.keys(), *node.values()] if isinstance(node, dict) else node
        if isinstance(children, list | tuple | set):
            waiting += [(child, depth + 1) for child in children]


def parse_assignment(text: str) -> tuple[str, Any]:
    """Name and value of ``window.size=4``; the value is YAML.

    Raises:
        ConfigError: there is no equals sign, or the value is not YAML.
    """
    name, sign, value = text.partition('=')
    if not sign:
        raise ConfigError(f'--set {text}: expected NAME=VALUE, such as --set window.size=4')
    try:
        found = parse_yaml(value)
    except ValueError as error:
        raise ConfigError(f'--set {text:.80}: {value!r:.80} is not a YAML value') from error
    return name.strip(), '' if found is None else found
