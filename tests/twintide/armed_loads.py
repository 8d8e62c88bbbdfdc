"""Loads every kind of artifact under an audit hook, in a process of its own.

    python -m tests.twintide.armed_loads FOLDER

Sound ones first, so that all modules are there; then the hook is armed and hostile ones follow.
Prints how many loads were refused and how many read, and what the hook says to a pickle from
standard input; ends with an error at the first execution.
"""

import pickle  # noqa: TID251  the control
import sys
from collections.abc import Callable
from pathlib import Path

from publisher.reader import load_version
from twintide.checkpoints import load_checkpoint
from twintide.config import load
from twintide.errors import TwintideError
from twintide.shardfile import footer_in, read_shard
from twintide.slices import read_slice
from twintide.versions import read_state

EXECUTIONS = (
    "exec",
    "compile",
    "import",
    "marshal.loads",
    "pickle.find_class",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "ctypes.dlopen",
    "socket.connect",
    "code.__new__",
    "function.__new__",
)


class Hook:
    """Ends the process at whatever runs code, once it is armed."""

    armed = False

    def __call__(self, event: str, args: tuple[object, ...]) -> None:
        """One audit event."""
        if self.armed and event in EXECUTIONS:
            self.armed = False
            raise SystemExit(f"{event} {args}"[:300])


def main(folder: Path) -> None:
    hook = Hook()
    sys.addaudithook(hook)
    counts = [0, 0]
    for name in ("sound", "hostile"):
        hook.armed = name == "hostile"
        for path in sorted((folder / name).iterdir()):
            counts[is_read(_LOADS[path.name.partition("-")[0]], path)] += 1
    print(*counts, heard(hook, bytes.fromhex(sys.stdin.read())))  # noqa: T201  the test reads it


def heard(hook: Hook, attack: bytes) -> str:
    """What the hook says to a pickle that runs code: whether it can hear anything at all."""
    hook.armed = True
    try:
        pickle.loads(attack)  # noqa: S301  the control
    except SystemExit as ended:
        return str(ended.code)
    return "nothing"


def is_read(read: Callable[[Path], object], path: Path) -> bool:
    try:
        read(path)
    except TwintideError:
        return False
    return True


def _shard(path: Path) -> None:
    footer_in(path / "shard.parquet")
    read_shard(path / "shard.parquet")


_LOADS: dict[str, Callable[[Path], object]] = {
    "config": lambda path: load(path / "twintide.yaml"),
    "checkpoint": lambda path: load_checkpoint(path, "nightly-000001"),
    "version": lambda path: load_version(path, "v000001"),
    "state": read_state,
    "shard": _shard,
    "slice": lambda path: read_slice(path / "00000001.parquet").read(),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
