"""Table of the kinds of faults; each is a function in one of this package's modules."""

from dataclasses import dataclass

KINDS = {}


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: of the kind.
        text: one line of description.
        throw: (world, rng) -> None, or a text that says what the node did wrong.
        counted: True if the node must count images as dropped.
        says: what a log line or a diagnostic must hold; "" where nothing is due.
        once: True if the node says it only the first time.
        jumps: True if the stamps of the images begin again, so that outputs may go back once.
    """

    name: str
    text: str
    throw: object
    counted: bool = False
    says: str = ''
    once: bool = False
    jumps: bool = False


def fault(**options):
    """Enter a function into `KINDS`, by its name and the first line of its docstring."""

    def enter(function):
        name = function.__name__.replace('_', ' ')
        assert name not in KINDS, name
        KINDS[name] = Fault(name, function.__doc__.splitlines()[0], function, **options)
        return function

    return enter
