"""Trains in child processes that die when they are told to.

They are told {"line": …, "data_dir": …, "shards": …, "now": …, "changes": …}.
"""

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.dying import serve
from tests.trainer.conftest import deployment_in
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.clock import HeldClock


def train(request: dict[str, Any]) -> None:
    deployment = deployment_in(
        Path(request["data_dir"]), {"folders": {"shards": request["shards"]}, **request["changes"]}
    )
    clock = HeldClock(datetime.fromisoformat(request["now"]))
    if request["line"] == "nightly":
        nightly(deployment, clock=clock)
    else:
        hourly(deployment, clock=clock)


if __name__ == "__main__":
    serve(train)
