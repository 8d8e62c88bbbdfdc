"""Paths in a declaration: a relative one starts at the folder of the configuration file."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator


def _for_no_shell(path: Path) -> Path:
    if path.parts and path.parts[0].startswith("~"):
        raise ValueError("only a shell knows what ~ means: write the folder out")
    return path


def _named(path: Path) -> Path:
    if path.name in {"", ".."}:
        raise ValueError("must name a folder that holds nothing else")
    return path


Place = Annotated[Path, AfterValidator(_for_no_shell)]
"""A path; a relative one starts at the folder of the configuration file."""

OwnPlace = Annotated[Place, AfterValidator(_named)]
"""A folder for one kind of artifact."""
