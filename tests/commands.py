"""Writes docs/commands.md: every command and option, from the code that takes them.

python -m tests.commands
"""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from console.commands import app

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """\
# Commands

Every command of `twintide`, as `--help` shows it; made by `python -m tests.commands` from the code.
All take `-c FILE` (default `twintide.yaml`) where they are about a deployment, and `--json` where
they print a result. Exit codes: 0 done, 1 failed, 2 refused (you must decide), 128 and its number
for a signal.
"""
COMMON = {"--config", "--json", "--help"}


def page() -> str:
    """The page, from the code as it is."""
    root = typer.main.get_command(app)
    return "\n".join([HEAD, *(_part(path, each) for path, each in commands(root))])


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each command that does something, by its words."""
    for name, each in group.commands.items():
        if isinstance(each, TyperGroup):
            yield from commands(each, (*path, name))
        else:
            yield (*path, name), each


def _part(path: tuple[str, ...], command: Any) -> str:
    taken = [each.metavar for each in command.params if is_argument(each)]
    paragraphs = inspect.cleandoc(command.help).split("\n\n")
    lines = [f"## twintide {' '.join((*path, *taken))}", ""]
    for each in paragraphs:
        lines += [each, ""]
    options = [each for each in command.params if not COMMON & set(each.opts)]
    if options:
        lines += ["| | | default |", "|---|---|---|", *map(_row, options), ""]
    return "\n".join([*lines, f"    {command.epilog.removeprefix('Example: ')}", ""])


def is_argument(parameter: Any) -> bool:
    """Whether it stands for itself, without a dash."""
    return not parameter.opts[0].startswith("-")


def _row(option: Any) -> str:
    named = [option.metavar] if is_argument(option) else [*option.opts, *option.secondary_opts]
    names = ", ".join(f"`{name}`" for name in named)
    return f"| {names} | {' '.join((option.help or '').split())} | {_default(option)} |"


def _default(option: Any) -> str:
    if option.required:
        return "must be given"
    if option.default in (None, False, "", "{}") or option.name == "json":
        return ""
    return f"`{option.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
