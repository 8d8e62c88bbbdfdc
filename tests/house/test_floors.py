"""What a program loads when it starts: the contracts of `make lint`, seen from a real process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "faiss", "apscheduler", "fastapi", "uvicorn", "matplotlib"}


def loaded_by(module: str) -> set[str]:
    """Top-level modules that a new process holds after importing `module`."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["streaming.commands", "clickworld"])
def test_what_only_moves_clicks_starts_without_the_heavy_libraries(module: str) -> None:
    """Ingest stays small and quick to restart; nothing brings a model in by the back door."""
    assert loaded_by(module).isdisjoint(HEAVY)


def test_serving_starts_without_kafka_and_without_a_scheduler() -> None:
    """A server needs the versions folder and nothing else of the line."""
    assert loaded_by("serving.server").isdisjoint({"kafka", "apscheduler"})
