"""Publishes and refreshes of an index in a Milvus, in child processes that die when they are told
to, also before a write to it: {"data_dir": …, "changes": to what is declared, "publishing": what is
declared of that, "now": …, "work": "publish" or "refresh", "checkpoint": which is published, null
for the newest, and what `tests.dying` takes}.
"""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher.index.milvus.service import Service
from publisher.publish import publish
from publisher.refresh import refresh
from tests.dying import serve
from tests.publisher.milvus_fixture import find_milvus
from tests.trainer.conftest import deployment_in
from twintide import files
from twintide.clock import HeldClock
from twintide.config import fill_in

WRITES = ("create", "build", "add", "put", "take_away", "settle", "point", "drop")


def as_steps() -> None:
    """Each write to Milvus is one."""
    for name in WRITES:
        setattr(Service, name, _counted(name, getattr(Service, name)))


def _counted(name: str, write: Callable[..., Any]) -> Callable[..., Any]:
    def step(*arguments: Any, **named: Any) -> Any:
        files.os.step(name)  # type: ignore[attr-defined]
        return write(*arguments, **named)

    return step


def work(request: dict[str, Any]) -> None:
    deployment = deployment_in(Path(request["data_dir"]), request["changes"])
    deployment = fill_in(deployment, {"publishing": request["publishing"]})
    clock = HeldClock(datetime.fromisoformat(request["now"]))
    if request["work"] == "refresh":
        refresh(deployment, clock=clock)
    else:
        publish(deployment, checkpoint=request["checkpoint"], clock=clock, judge=False)


if __name__ == "__main__":
    find_milvus()
    as_steps()
    serve(work)
