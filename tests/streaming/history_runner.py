"""Takes a history in child processes that die when they are told to.

They are told {"values": …, "files": …}.
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from streaming.history import take_history
from tests.dying import serve
from twintide import config
from twintide.clock import SystemClock


def take(request: dict[str, Any]) -> None:
    deployment = config.parse(request["values"], name="test")
    files = Path(request["files"])
    take_history(deployment, files, until=None, clock=SystemClock(), rows_at_once=20)


if __name__ == "__main__":
    serve(take)
