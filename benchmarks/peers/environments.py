"""Where each contestant runs: ours in the environment of the project, a peer in one of its own,
made from the versions that its folder pins.
"""

import os
import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twintide.errors import Refused

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
FOLDER = ROOT / "build" / "peers"

ALIKE = {
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_WAIT_POLICY": "PASSIVE",
    # As torch's tuning guide says: an allocator that gives no memory back. It saves TorchRec four
    # tenths of its time at batches of 4,096, ours nothing.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 32),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 33),
    "MALLOC_TOP_PAD_": str(1 << 28),
}
"""What every contestant's process is told, beside what this one was."""


@dataclass(frozen=True)
class Place:
    """A module that is a contestant, and what it runs in."""

    module: str
    python: Path = field(default_factory=lambda: Path(sys.executable))
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, *words: str) -> list[str]:
        if not self.python.exists():
            raise Refused(
                f"{self.python} is not there, which {self.module} runs in",
                hint="`python -m benchmarks.peers make` makes the environments of the peers",
            )
        return [str(self.python), "-m", self.module, *words]

    def environment(self) -> dict[str, str]:
        return {**os.environ, **ALIKE, "PYTHONPATH": str(ROOT), **self.variables}


PEERS = ("torchrec", "tfrs")


def places(folder: Path) -> dict[str, Place]:
    """By name, in the order in which they take turns; `folder` holds the peers' environments."""
    return {
        "ours": Place("benchmarks.peers.ours"),
        "torchrec": Place("benchmarks.peers.torchrec.contestant", python_in(folder / "torchrec")),
        "tfrs": Place(
            "benchmarks.peers.tfrs.contestant",
            python_in(folder / "tfrs"),
            # TFRS is written for Keras 2, which tf_keras goes on with.
            {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        ),
    }


def python_in(environment: Path) -> Path:
    return environment / "bin" / "python"


def make(peer: str, folder: Path) -> None:
    """Some gigabytes and minutes. Every package is pinned and none is resolved: fbgemm-gpu-cpu is
    not what TorchRec asks for by name, and TFRS asks for a TensorFlow with CUDA.
    """
    venv.create(folder / peer, with_pip=True, clear=True)
    pip = [str(python_in(folder / peer)), "-m", "pip", "install", "--disable-pip-version-check"]
    pinned = str(HERE / peer / "requirements.txt")
    subprocess.run([*pip, "--no-deps", "-r", pinned], check=True)  # noqa: S603  our own list
