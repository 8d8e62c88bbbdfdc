"""`twintide`: the one command that people type. This wires the commands together.

An error that a person can act on is one message with a hint and an exit code: 1 failed, 2 refused.
Anything else is a bug, and shows its traceback.
"""

import sys
from typing import Annotated

import typer

from console import answers, demo, report, settings, status, stream, train, versions
from console.output import say_error
from twintide import __version__
from twintide.errors import TwintideError

app = typer.Typer(
    name="twintide",
    help="Keep a two-tower retrieval model fresh from a click stream.",
    epilog="Example: twintide demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (demo, stream, train, versions, answers, report, status, settings):
    app.add_typer(part.app)


def _version(*, asked: bool) -> None:
    if asked:
        typer.echo(f"twintide {__version__}")
        raise typer.Exit


@app.callback()
def twintide(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version, then end.")
    ] = False,
) -> None:
    """Keep a two-tower retrieval model fresh from a click stream."""
    _version(asked=version)


def run() -> None:
    """Run a command and end the process with its exit code."""
    try:
        app()
    except TwintideError as error:
        say_error(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
