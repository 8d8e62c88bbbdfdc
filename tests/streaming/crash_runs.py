"""Runs of ingest in processes of their own, that die or are slow where a test says.

Processes fork from a server that has everything imported, so that a kill costs a tenth of a second.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from streaming.daemon import run
from twintide import claims, config, files, telemetry
from twintide.clock import SystemClock

CALLS = ("fsync", "link", "unlink", "replace", "mkdir")
"""Steps of a commit: what changes the disk, or makes the change last."""

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.streaming.crash_runs"])


def start(target: Callable[..., None], *args: Any) -> BaseProcess:
    process = _FORKS.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def catch_up(values: dict[str, Any]) -> None:
    """Ingest to the end of the log, undisturbed."""
    _silence(values)
    run(config.parse(values, name="test"), clock=SystemClock(), until_caught_up=True)


def catch_up_measured(values: dict[str, Any], note: str, fsync_seconds: float = 0.0) -> None:
    """Ingest to the end of the log on a disk that takes so long for each fsync; the file `note`
    says by how many bytes the process has grown at its peak, since it had everything imported.
    """
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        threading.Event().wait(fsync_seconds)
        fsync(descriptor)

    os.fsync = slow  # type: ignore[assignment]
    before = _memory("VmRSS")
    catch_up(values)
    Path(note).write_text(str(_memory("VmHWM") - before))


def _memory(what: str) -> int:
    """Bytes, as the kernel counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def read_on(values: dict[str, Any]) -> None:
    """The daemon, until it is killed."""
    _silence(values)
    run(config.parse(values, name="test"), clock=SystemClock(), stop=threading.Event())


def read_on_held_disk(values: dict[str, Any], note: str) -> None:
    """The daemon on a disk that never answers: the first fsync leaves the file `note` and holds the
    main thread, deaf to signals, for ever.
    """
    _silence(values)

    def never_answers(_: int) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        Path(note).touch()
        lock = threading.Lock()
        with lock:
            lock.acquire()

    os.fsync = never_answers  # type: ignore[assignment]
    run(config.parse(values, name="test"), clock=SystemClock())


def catch_up_until_killed(values: dict[str, Any], kill_at: int) -> None:
    """Ingest, but SIGKILL ourselves right before the n-th step (1 is the first).

    Which step that was is left in the file `died_before` beside the data.
    """
    note = Path(values["data_dir"]).parent / "died_before"
    left = [kill_at]
    for name in CALLS:
        setattr(os, name, _dying_before(name, getattr(os, name), left, note))
    catch_up(values)


def catch_up_overwriting(values: dict[str, Any], stall_at: int) -> None:
    """The control: as below, but its claims take what is a rival's."""

    def overwrite(source: Path, path: Path) -> None:
        files.publish_file(path, source.read_bytes())

    def keep(_: claims.Claims, claim: Path, __: Path, shown_as: Path) -> None:
        overwrite(claim, shown_as)

    claims.link_once = overwrite  # type: ignore[attr-defined]
    claims.Claims._give_back = keep  # type: ignore[assignment]
    catch_up_stalled(values, stall_at)


def catch_up_stalled(values: dict[str, Any], stall_at: int) -> None:
    """Ingest, but sleep right before the n-th step of the first commit (1 is its claim) until the
    file `go` is there. Which step that was is left in the file `stalled`.
    """
    folder = Path(values["data_dir"]).parent
    began: list[Path] = []
    left = [stall_at]

    def stalling(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **keywords: Any) -> Any:
            if name in {"link", "replace"} and "claims" in str(args[1]):
                began.append(args[0])
            if began:
                left[0] -= 1
                if left[0] == 0:
                    (folder / "note").write_text(name)
                    (folder / "note").rename(folder / "stalled")
                    while not (folder / "go").exists():
                        threading.Event().wait(0.02)
            return call(*args, **keywords)

        return step

    for name in (*CALLS, "listdir"):
        setattr(os, name, stalling(name, getattr(os, name)))
    catch_up(values)


def _dying_before(
    name: str, call: Callable[..., Any], left: list[int], note: Path
) -> Callable[..., Any]:
    def dying(*args: Any, **keywords: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            note.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **keywords)

    return dying


def _silence(values: dict[str, Any]) -> None:
    """A killed process says nothing worth reading; its log is kept for when a test fails."""
    log = os.open(Path(values["data_dir"]).parent / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    telemetry.configure_logging()
