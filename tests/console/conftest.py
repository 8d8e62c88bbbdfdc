"""The real `twintide`, and small lines that it can work on."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import structlog

from console import main
from publisher.publish import publish
from streaming.offline import write_shards
from tests.trainer.conftest import deployment_in
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide import config
from twintide.clock import HeldClock
from twintide.config import Deployment

ROOT = Path(__file__).parents[2]
START = datetime(2026, 3, 1, tzinfo=UTC)
HOURS = 50
EVENTS_PER_HOUR = 60


@dataclass(frozen=True)
class Done:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Twintide = Callable[..., Done]


@pytest.fixture
def twintide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Twintide]:
    """What a person types, in a folder of its own, without the start of a process.

    An exception that `twintide` does not turn into a message fails the test.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for programs that a command starts

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["twintide", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main.run()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    yield run
    structlog.reset_defaults()  # logs went to this test's standard error


@pytest.fixture
def twintide_process(tmp_path: Path) -> Twintide:
    """The same in a real process."""

    def run(*arguments: object, env: Mapping[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "console", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **(env or {})},
            capture_output=True,
            encoding=(env or {}).get("PYTHONIOENCODING", "utf-8"),
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def hour(number: float) -> datetime:
    """The start of an hour of the stream, which begins with hour 0."""
    return START + timedelta(hours=number)


def write_config(deployment: Deployment, folder: Path) -> Path:
    """The deployment as `folder`/twintide.yaml; JSON is YAML. Its data lie in `folder`/data."""
    path = folder / "twintide.yaml"
    values = deployment.model_dump(mode="json") | {"data_dir": "data"}
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def stream(
    deployment: Deployment,
    *,
    hours: int = HOURS,
    seed: int = 3,
    events_per_hour: int = EVENTS_PER_HOUR,
) -> pa.Table:
    """Events of 80 users on items that change from hour to hour."""
    rng = np.random.default_rng(seed)
    count = hours * events_per_hour
    at_ms = np.sort(rng.integers(0, hours * 3_600_000, count))
    user, item = rng.integers(0, 80, count), rng.zipf(1.5, count) % 30 + 5 * (at_ms // 3_600_000)
    columns = {
        "event_id": np.arange(count),
        "user_id": user,
        "item_id": item,
        "event_at": pa.array(at_ms + round(START.timestamp() * 1000)).cast(
            pa.timestamp("ms", tz="UTC")
        ),
        "clicked": rng.random(count) < 0.5,
        "watch_seconds": rng.random(count),
        "liked": rng.random(count) < 0.1,
        "category": item % 5,
        "topics": pa.array([[int(each) % 7] for each in item]),
        "region": user % 4,
    }
    table = pa.table(columns).select(list(deployment.events.columns))
    return table.cast(deployment.events.arrow_schema())


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """The configuration of a deployment that has nothing yet."""
    return write_config(deployment_in(tmp_path / "data"), tmp_path)


@pytest.fixture(scope="session")
def sharded_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sharded")
    deployment = deployment_in(folder / "data")
    write_shards(deployment, stream(deployment), partitions=2, complete_until=hour(HOURS))
    write_config(deployment, folder)
    return folder


@pytest.fixture(scope="session")
def published_once(sharded_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published") / "line"
    shutil.copytree(sharded_once, folder)
    deployment = config.load(folder / "twintide.yaml")
    nightly(deployment, clock=HeldClock(hour(24)))
    publish(deployment, clock=HeldClock(hour(24)))
    hourly(deployment, clock=HeldClock(hour(36)))
    publish(deployment, clock=HeldClock(hour(36)))
    return folder


@pytest.fixture
def sharded(sharded_once: Path, tmp_path: Path) -> Path:
    """The configuration of a deployment with two days and two hours of shards."""
    shutil.copytree(sharded_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "twintide.yaml"


@pytest.fixture
def published(published_once: Path, tmp_path: Path) -> Path:
    """The same with two versions: of the first nightly, and of noon on the second day."""
    shutil.copytree(published_once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "twintide.yaml"
