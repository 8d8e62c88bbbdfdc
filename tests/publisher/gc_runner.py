"""Runs gc in child processes that die when they are told to: {"data_dir": …, "in_place": whether
to break the protocol on purpose, and what `tests.dying` takes}.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher import gc
from tests.dying import serve
from tests.publisher import checkpoint_fixture as made
from twintide import files
from twintide.config import Deployment, fill_in

KEEP_LITTLE = {
    "publishing": {"keep_versions": 1},
    "training": {"keep_hourly": 1, "keep_nightly": 1},
}


def deployment_at(data_dir: Path) -> Deployment:
    return fill_in(made.deployment_at(data_dir), KEEP_LITTLE)


def emptied_in_place(path: Path) -> Path:
    """The protocol broken on purpose: files go while the folder has its name."""
    shutil.rmtree(path)
    return path


def collect(request: dict[str, Any]) -> None:
    shutil.os = files.os  # type: ignore[attr-defined]  # so that each file that goes is a step
    if request.get("in_place"):
        gc.hide_folder = emptied_in_place  # type: ignore[attr-defined]
    gc.run(deployment_at(Path(request["data_dir"])))


if __name__ == "__main__":
    serve(collect)
