"""Publishes in child processes that die when they are told to. One JSON request a line on stdin:
{"data_dir": ..., "die_before": n or null, "die_after_seconds": s or null, "in_place": bool}; one
answer a line:
{"killed": bool, "steps": names of the file-system steps, in order}.

Forking from a process that has loaded torch and done nothing with it saves its start each time.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from publisher import build
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from twintide import files

STEPS = ("fsync", "replace", "rename", "link", "unlink")


class CountingOs:
    """The os module, whose n-th step on the file system is death instead."""

    def __init__(self, die_before: int | None, report: int) -> None:
        self._die_before = die_before
        self._report = report
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return self._counted(name) if name in STEPS else getattr(os, name)

    def _counted(self, name: str) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            self._steps += 1
            if self._steps == self._die_before:
                os.kill(os.getpid(), signal.SIGKILL)
            os.write(self._report, f"{name}\n".encode())
            return getattr(os, name)(*arguments)

        return step


@contextlib.contextmanager
def fill_in_place(path: Path) -> Iterator[Path]:
    """The protocol broken on purpose: the folder has its name before it is filled."""
    path.mkdir()
    yield path


def publish_in_child(request: dict[str, Any], report: int) -> None:
    files.os = CountingOs(request["die_before"], report)  # type: ignore[attr-defined,assignment]
    if request["die_after_seconds"]:
        signal.setitimer(signal.ITIMER_REAL, request["die_after_seconds"])
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    if request["in_place"]:
        build.publish_folder_once = fill_in_place  # type: ignore[attr-defined]
    publish(made.deployment_at(Path(request["data_dir"])), clock=made.held_clock())


def run(request: dict[str, Any]) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stdout(sys.stderr):
            publish_in_child(request, write_end)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as steps:
        names = steps.read().split()
    _, status = os.waitpid(child, 0)
    return {"killed": os.WIFSIGNALED(status), "code": status, "steps": names}


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)  # noqa: T201


main()
