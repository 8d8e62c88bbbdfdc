"""`twintide`: the one command that people type. It listens for Ctrl-C before it loads anything."""

from typing import NoReturn

from twintide import program


def run() -> NoReturn:
    """Run a command and end the process with its exit code."""
    program.run_main_of("console.commands")
