"""A Milvus for tests: milvus-lite, as a process of its own with its own folder.

It is installed by `make long` into build/milvus, apart from all else (pyproject.toml says why), and
found there or in the environment.
"""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from publisher.index.milvus.service import Service
from twintide.config import MilvusConfig
from twintide.errors import Retryable

APART = Path(__file__).parents[2] / "build" / "milvus"


def find_milvus() -> None:
    """Let pymilvus be imported; leaves the test out where it is not installed."""
    if importlib.util.find_spec("pymilvus") is None and str(APART) not in sys.path:
        sys.path.append(str(APART))
    if importlib.util.find_spec("milvus_lite") is None:
        pytest.skip("there is no milvus-lite: `make long` installs it into build/milvus")


@dataclass
class Milvus:
    """A process, which may be stopped and started again with what it holds."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def service(self, prefix: str = "news") -> Service:
        return Service(MilvusConfig(uri=self.uri, prefix=prefix, timeout_seconds=30.0))

    def start(self) -> None:
        path = os.pathsep.join((*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(APART)))
        command = ["-m", "milvus_lite", "server", "--host", "127.0.0.1"]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--data-dir", self.folder, "--port", str(self.port)],
            env=os.environ | {"PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while True:
            with suppress(Retryable):
                self.service().collections()
                return
            assert self.process.poll() is None, "milvus-lite ended"

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)  # a test may have stopped it
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


@contextmanager
def milvus_in(folder: Path) -> Iterator[Milvus]:
    find_milvus()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    milvus = Milvus(folder, port)
    milvus.start()
    try:
        yield milvus
    finally:
        milvus.stop()
