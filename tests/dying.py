"""Work in child processes that die when they are told to, for tests of kill -9.

A runner script calls `serve(work)`; a test starts it and talks to it through `Runner`. The child
that works is forked from a process that has loaded everything and done nothing with it, which saves
the start of each. It dies before its n-th step on the file system, or after some seconds. A runner
whose work also changes what lies elsewhere says so by `files.os.step`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twintide import files

STEPS = ("fsync", "replace", "rename", "link", "unlink")


class CountingOs:
    """The os module, whose n-th step on the file system is death instead."""

    def __init__(self, die_before: int | None, report: int, counted: Sequence[str]) -> None:
        self._die_before = die_before
        self._report = report
        self._names = counted
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return self._counted(name) if name in self._names else getattr(os, name)

    def step(self, name: str) -> None:
        """One is to be done now."""
        self._steps += 1
        if self._steps == self._die_before:
            os.kill(os.getpid(), signal.SIGKILL)
        os.write(self._report, f"{name}\n".encode())

    def _counted(self, name: str) -> Callable[..., Any]:
        def step(*arguments: Any, **named: Any) -> Any:
            self.step(name)
            return getattr(os, name)(*arguments, **named)

        return step


def serve(work: Callable[[dict[str, Any]], None]) -> None:
    """Answer each request of stdin with what became of a child that did `work(request)`."""
    for line in sys.stdin:
        print(json.dumps(_run(work, json.loads(line))), flush=True)  # noqa: T201


def _run(work: Callable[[dict[str, Any]], None], request: dict[str, Any]) -> dict[str, Any]:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.redirect_stdout(sys.stderr):
            _work(work, request, write_end)
    os.close(write_end)
    with os.fdopen(read_end) as steps:
        names = steps.read().split()
    _, status = os.waitpid(child, 0)
    return {"killed": os.WIFSIGNALED(status), "code": status, "steps": names}


def _work(work: Callable[[dict[str, Any]], None], request: dict[str, Any], report: int) -> None:
    counting = CountingOs(request.get("die_before"), report, request.get("counted", STEPS))
    files.os = counting  # type: ignore[assignment,attr-defined]
    if request.get("die_after_seconds"):
        signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, request["die_after_seconds"])
    try:
        work(request)
    except BaseException:  # noqa: BLE001  whatever it is, the parent's half must not run on
        sys.excepthook(*sys.exc_info())
        os._exit(1)
    os._exit(0)


class Deaths:
    """A folder as it lies before some work, and copies of it in which the work dies."""

    def __init__(self, before: Path, work: "Runner", **asked: Any) -> None:
        """`asked` is said to the work each time, beside the folder."""
        self._before, self._work, self._asked = before, work, asked

    def unkilled(self, data_dir: Path) -> list[str]:
        """Work in a copy, to its end; the steps that it took."""
        shutil.copytree(self._before, data_dir)
        answer = self._run(data_dir)
        assert answer["code"] == 0
        steps: list[str] = answer["steps"]
        return steps

    def dies(self, data_dir: Path, **death: Any) -> bool:
        """Work in a copy until it is killed; whether it was before it had done all."""
        shutil.copytree(self._before, data_dir)
        answer = self._run(data_dir, **death)
        assert answer["killed"] or answer["code"] == 0
        return bool(answer["killed"])

    def ends(self, data_dir: Path) -> None:
        """Work again, to its end."""
        assert self._run(data_dir)["code"] == 0

    def _run(self, data_dir: Path, **death: Any) -> dict[str, Any]:
        return self._work(data_dir=str(data_dir), **self._asked, **death)


class Runner:
    """The test's side: a runner script at work."""

    def __init__(self, script: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __call__(self, **request: Any) -> dict[str, Any]:
        """{"killed": bool, "code": wait status, "steps": the file-system steps, in order}."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the runner has no pipes")
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        answer: dict[str, Any] = json.loads(stdout.readline())
        return answer

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
