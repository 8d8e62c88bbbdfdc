"""The programs of a soak, each a process of its own.

python tests/soak/programs.py ingest|learner|server CONFIG CLOCK
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.soak.fast_clock import FastClock
from twintide import telemetry
from twintide.config import Deployment, load
from twintide.errors import TwintideError

_HOUR_SECONDS = 3600.0


def ingest(deployment: Deployment, clock: FastClock) -> None:
    """The consumer daemon."""
    from streaming.daemon import run  # noqa: PLC0415  each program loads what it needs

    run(deployment, clock=clock)


def learner(deployment: Deployment, clock: FastClock) -> None:
    """Each hour of the stream: a due nightly, an hourly run, a publish, gc."""
    from publisher import gc  # noqa: PLC0415
    from publisher.publish import publish  # noqa: PLC0415
    from trainer.hourly import hourly  # noqa: PLC0415
    from trainer.nightly import nightly  # noqa: PLC0415

    log = telemetry.get_log("soak")
    pause = threading.Event()
    while True:
        began = clock.right()
        deeds: dict[str, Callable[[], object]] = {
            "nightly": lambda: nightly(deployment, clock=clock),
            "hourly": lambda: hourly(deployment, clock=clock),
            "publish": lambda: publish(deployment, clock=clock),
            "gc": lambda: gc.run(deployment),
        }
        for what, deed in deeds.items():
            try:
                deed()
            except (TwintideError, OSError) as error:  # as the scheduler takes them
                log.warning("deed_failed", what=what, why=str(error))
        while (clock.right() - began).total_seconds() < _HOUR_SECONDS:
            pause.wait(0.2)


def server(deployment: Deployment, clock: FastClock) -> None:
    """The HTTP server."""
    from serving.server import serve  # noqa: PLC0415

    serve(deployment, Path("twintide.yaml"), clock=clock)


PROGRAMS = {"ingest": ingest, "learner": learner, "server": server}

if __name__ == "__main__":
    telemetry.configure_logging()
    name, config, clock_file = sys.argv[1:]
    PROGRAMS[name](load(Path(config)), FastClock(Path(clock_file)))
