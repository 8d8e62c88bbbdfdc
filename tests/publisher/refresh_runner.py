"""Counts and refreshes in child processes that die when they are told to: {"data_dir": …, "now": …,
"in_place": whether to break the protocol on purpose, and what `tests.dying` takes}.
"""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher.refresh import refresh
from tests.dying import serve
from tests.publisher.publish_runner import fill_in_place
from tests.trainer.conftest import deployment_in
from trainer.counting import count
from twintide import counted
from twintide.clock import HeldClock


def count_and_refresh(request: dict[str, Any]) -> None:
    if request.get("in_place"):
        counted.publish_folder_once = fill_in_place  # type: ignore[attr-defined]
    deployment = deployment_in(Path(request["data_dir"]))
    clock = HeldClock(datetime.fromisoformat(request["now"]))
    count(deployment, clock=clock)
    refresh(deployment, clock=clock)


if __name__ == "__main__":
    serve(count_and_refresh)
