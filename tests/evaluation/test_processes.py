"""Figures are the same with however many processes, and what is killed goes on."""

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.progressive import Tick
from evaluation.workfolder import write_all
from tests.console.conftest import stream, write_config
from tests.evaluation.stopping import gone_on, stopped
from tests.evaluation.test_goes_on import figures
from tests.evaluation.world import HOURS, Evaluation
from tests.trainer.conftest import deployment_in
from twintide.errors import Corrupt, Retryable

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

NAMES = ["nightly+hourly", "popular-1h", "co-visitation"]
INGREDIENTS = ["small batches", "histories"]
"""A variation that shares the slices of the whole, and one that has its own."""


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return stream(deployment_in(tmp_path_factory.mktemp("events")), hours=HOURS)


def evaluation(folder: Path, events: pa.Table) -> Evaluation:
    return Evaluation(folder / "work", events, NAMES, INGREDIENTS, is_exact=True)


@pytest.fixture(scope="module")
def in_one(tmp_path_factory: pytest.TempPathFactory, events: pa.Table) -> dict[str, Any]:
    """The figures of one process."""
    return figures(evaluation(tmp_path_factory.mktemp("one"), events).run())


def test_figures_are_the_same_with_any_number_of_processes(
    tmp_path: Path, events: pa.Table, in_one: dict[str, Any]
) -> None:
    """To the last digit, and they tell how far they have come together."""
    ticks: list[Tick] = []
    found = evaluation(tmp_path, events).run(processes=3, on_tick=ticks.append)

    assert figures(found) == in_one
    assert [each.done for each in ticks] == list(range(1, ticks[-1].ticks + 1))
    assert len(ticks[0].progress) == 3
    assert [each.left for each in ticks[-1].progress] == pytest.approx([0, 0, 0], abs=1e-6)
    assert all(each.costs.total() > 0 for each in found if each.policy.exact_of is None)


def test_a_process_that_is_killed_ends_all_and_what_is_kept_goes_on(
    tmp_path: Path, events: pa.Table, in_one: dict[str, Any]
) -> None:
    """It is said in a sentence, and another number of processes goes on from it."""

    def kill_one(tick: Tick) -> None:
        if tick.done == 0.8 * tick.ticks // 1:
            multiprocessing.active_children()[0].kill()

    with pytest.raises(Retryable, match="was ended by SIGKILL"):
        evaluation(tmp_path, events).run(processes=2, on_tick=kill_one)
    assert not multiprocessing.active_children()

    assert figures(evaluation(tmp_path, events).run()) == in_one


def test_what_a_process_refuses_is_said_by_whoever_asked(tmp_path: Path, events: pa.Table) -> None:
    """The same error, and nobody is left at work."""
    spoilt = Evaluation(tmp_path, events, ["hourly", "popular-1h"])
    write_all(deployment_in(tmp_path), events, tmp_path, asked={"names": list(spoilt.names)})
    for path in (tmp_path / "shards").rglob("*.parquet"):
        path.write_bytes(b"no shard")

    with pytest.raises(Corrupt):
        spoilt.run(processes=2)
    assert not multiprocessing.active_children()


def test_with_the_one_who_asked_all_end_and_the_same_goes_on(tmp_path: Path) -> None:
    """A kill -9 of the program: no process outlives it, and what they kept is taken up."""
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    pq.write_table(stream(deployment, hours=HOURS), tmp_path / "clicks.parquet")
    stopped(tmp_path, 60, signal.SIGKILL, timeout_seconds=60)

    work = tmp_path / "twintide-evaluation" / "work"
    assert list(work.glob("nightly-*/scored/*.npz"))
    done = gone_on(tmp_path)
    assert "Traceback" not in done.stderr
    assert not work.exists()
