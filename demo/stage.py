"""Where a demo plays: its folder, its steps, and how long each of them took."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.text import Text

from twintide.clock import monotonic_seconds
from twintide.errors import Refused
from twintide.output import stderr

MARK = ".twintide-demo"
"""Lies in a folder that a demo made, and that the next demo may therefore remove."""

_STEPS = 5


@dataclass
class Stage:
    """Where a demo plays, and how long each of its steps took."""

    folder: Path
    kafka: str | None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        """The configuration that the demo writes."""
        return self.folder / "twintide.yaml"

    @contextmanager
    def step(self, name: str) -> Iterator[Callable[[str], None]]:
        """One step of the story; what it came to is said with the time that it took."""
        words: list[str] = []
        began = monotonic_seconds()
        yield words.append
        self.seconds[name] = round(monotonic_seconds() - began, 1)
        place = f"{len(self.seconds)}/{_STEPS}"
        text = Text.assemble(
            (f"{place} {name:<9}", "bold"),
            f" {' '.join(words)}  ",
            (f"{self.seconds[name]} s", "dim"),
        )
        stderr().print(text, soft_wrap=True)


def make_room(folder: Path) -> None:
    """An empty folder; an older demo's is removed. Raises Refused where it holds something else."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARK).is_file():
            raise Refused(
                f"{folder} holds something that no demo made", hint="--dir names another folder"
            )
        stderr().print(Text(f"removing the older demo in {folder}"))
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
