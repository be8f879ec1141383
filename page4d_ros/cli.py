"""The command line: ``page4d COMMAND``."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from page4d_ros import __version__, commands
from page4d_ros.commands import evaluate
from page4d_ros.errors import Page4dError, printable
from page4d_ros.process import prepare

INTERRUPTED = 130


class Commands(TyperGroup):
    """Commands whose foreseeable errors are one line on stderr, without a trace."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 1 where that is foreseen, 130 on Ctrl-C."""
        try:
            return super().invoke(ctx)
        except (Page4dError, OSError) as error:
            print(f'page4d: {printable(str(error))}', file=sys.stderr)
            raise typer.Exit(1) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    name='page4d',
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _version(asked: bool) -> None:  # noqa: FBT001
    if asked:
        print(f'page4d {__version__}')
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option('--version', callback=_version, is_eager=True, help='Show it.')
    ] = False,
) -> None:
    """Camera pose, depth and a motion mask from one moving camera."""


for command in commands.ALL:
    app.command()(command)
app.add_typer(evaluate.app, name='evaluate')


def main() -> None:
    """Run the command that the process was started with."""
    prepare()
    app()


if __name__ == '__main__':
    main()
