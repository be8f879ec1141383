"""Table of the targets, and the verdict on one input."""

import contextlib
import io
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from page4d_ros.errors import Page4dError

TARGETS = {}
PACKAGE = 'page4d_ros'
SLOW = 10.0  # seconds of the processor for one small input; more is a finding


@dataclass(frozen=True)
class Target:
    """One reader of bytes from outside.

    Attributes:
        name: of the target.
        text: one line of description.
        prepare: (empty folder) -> (seeds, take); `take` reads bytes, and raises only a
            `Page4dError`; `Skip` for bytes that never come to the package.
        words: pieces that mutations insert.
        heavy: True where one input takes tens of milliseconds.
    """

    name: str
    text: str
    prepare: object
    words: tuple[bytes, ...] = ()
    heavy: bool = False


class Skip(Exception):
    """Bytes that others have refused before the package sees them."""


def target(*, words=(), heavy=False):
    """Enter a function into `TARGETS`, by its name and its docstring."""

    def enter(function):
        name = function.__name__
        assert name not in TARGETS, name
        text = function.__doc__.splitlines()[0]
        TARGETS[name] = Target(name, text, function, tuple(words), heavy)
        return function

    return enter


@dataclass
class Judge:
    """Feeds a target, and tells its refusals from findings.

    Attributes:
        take: of the target.
        inputs: given so far; refused and skipped are those of them that were.
        findings: text by place, one for each.
        found: called with (place, text, data) for a new finding.
    """

    take: object
    found: object = lambda place, text, data: None
    inputs: int = 0
    refused: int = 0
    skipped: int = 0
    findings: dict[str, str] = field(default_factory=dict)

    def one(self, data):
        """Take one input."""
        self.inputs += 1
        begin = time.process_time()
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                self.take(data)
        except Skip:
            self.skipped += 1
        except Page4dError as error:
            self.refused += 1
            text = str(error)
            if not text or not text.isprintable():
                self._find(error, f'a refusal without a printable reason: {text!r}', data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self._find(error, ''.join(traceback.format_exception(error)), data)
        seconds = time.process_time() - begin
        if seconds > SLOW:
            self._note('slow', f'{seconds:.1f} s of the processor', data)

    def _find(self, error, text, data):
        self._note(place(error), text, data)

    def _note(self, key, text, data):
        if key not in self.findings:
            self.findings[key] = text
            self.found(key, text, data)


def place(error):
    """Type of an exception, and the innermost line of the package that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if PACKAGE in Path(f.filename).parts] or frames
    last = ours[-1]
    return f'{type(error).__name__} {Path(last.filename).name}:{last.lineno} {last.name}'
