"""Publishes in child processes that die when they are told to: {"data_dir": …, "in_place": whether
to break the protocol on purpose, and what `tests.dying` takes}.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher import build
from publisher.publish import publish
from tests.dying import serve
from tests.publisher import checkpoint_fixture as made
from twintide.config import Deployment


@contextlib.contextmanager
def fill_in_place(path: Path) -> Iterator[Path]:
    """The protocol broken on purpose: the folder has its name before it is filled."""
    path.mkdir()
    yield path


def deployment_at(data_dir: Path) -> Deployment:
    """Of few lists, so that an index goes on from the one before."""
    return made.deployment_at(data_dir, publishing={"index": "ivf", "nprobe": 8})


def publish_what_is_due(request: dict[str, Any]) -> None:
    if request.get("in_place"):
        build.publish_folder_once = fill_in_place  # type: ignore[attr-defined]
    publish(deployment_at(Path(request["data_dir"])), clock=made.held_clock())


if __name__ == "__main__":
    serve(publish_what_is_due)
