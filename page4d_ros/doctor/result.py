"""Results of checks, and the loop that runs them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from page4d_ros.errors import Page4dError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

OK, SKIPPED, WARN, ERROR = LEVELS = 'ok', 'skipped', 'warn', 'error'  # by rising severity


@dataclass(frozen=True)
class Result:
    """Outcome of one check.

    Attributes:
        name: of the check.
        level: of `LEVELS`.
        text: finding, on one line.
        advice: remedy, in the imperative; "" where there is nothing to do.
    """

    name: str
    level: str
    text: str
    advice: str = ''


Finding = tuple[str, str, str]  # level, text and advice


def ok(text: str) -> Finding:
    """Finding that needs nothing."""
    return OK, text, ''


class Check(NamedTuple):
    """One check.

    Attributes:
        name: of its result.
        find: makes it; an error of `Page4dError` is one that was found.
        needs: names of earlier checks that must not have failed.
    """

    name: str
    find: Callable[[], Finding]
    needs: tuple[str, ...] = ()


def run(checks: Iterable[Check]) -> Iterator[Result]:
    """Results of checks, one after the other."""
    levels: dict[str, str] = {}
    for name, find, needs in checks:
        failed = [need for need in needs if levels.get(need) in {ERROR, SKIPPED}]
        if failed:
            level, text, advice = SKIPPED, f'needs {failed[0]}, see there', ''
        else:
            level, text, advice = _found(find)
        levels[name] = level
        yield Result(name, level, printable(text), printable(advice))


def _found(find: Callable[[], Finding]) -> Finding:
    try:
        return find()
    except Page4dError as error:
        return ERROR, str(error), ''
    except Exception as error:  # a doctor must not die of the disease
        text = f'the check failed: {type(error).__name__}: {error}'
        return ERROR, text, 'report this, with the output of `page4d doctor --json`'


def worst(results: Iterable[Result]) -> str:
    """Most severe level; ``ok`` of none."""
    return max((r.level for r in results), key=LEVELS.index, default=OK)


def as_json(results: Iterable[Result]) -> dict[str, Any]:
    """Plain values for scripts."""
    results = list(results)
    return {'level': worst(results), 'checks': [asdict(result) for result in results]}
