"""That what `benchmarks/` declares is still what the program takes, and that contestants of other
environments are told and heard.
"""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.models.contestants import CONTESTANTS, Contestant, declared
from benchmarks.peers.clicks import Clicks
from benchmarks.peers.environments import ROOT, Place
from benchmarks.peers.turns import contestant, in_turns
from twintide.config import load
from twintide.errors import Refused

KUAIRAND = Path(__file__).parents[2] / "configs" / "kuairand.yaml"


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda one: one.name)
def test_every_contestant_is_a_model_that_may_be_declared(contestant: Contestant) -> None:
    """A run of an hour must not end at the first contestant of a renamed key."""
    deployment = declared(load(KUAIRAND), contestant, seed=2)

    assert deployment.training.seed == 2


CHILD = """
from benchmarks.peers.answering import main

class Child:
    def __init__(self, task):
        self.batches = list(task.clicks.batches(task.batch_rows))

    def learn(self):
        print("noise of a library")
        if len(self.batches) > 2:
            raise SystemExit("too many batches")
        return [float(batch.history.sum()) for batch in self.batches]

main(Child, {"child": "1"})
"""


@pytest.fixture
def child(tmp_path: Path) -> Place:
    (tmp_path / "child.py").write_text(CHILD)
    clicks = Clicks(
        size=np.array([3, 10]),
        user=np.array([0, 1, 2]),
        item=np.array([4, 5, 6]),
        history=np.array([7, 8, 9]),
        offsets=np.array([0, 0, 2, 3]),
        statistics=np.zeros((10, 7), np.float32),
        log_q=np.zeros(10, np.float32),
    )
    clicks.save(tmp_path / "clicks.npz")
    return Place("child", variables={"PYTHONPATH": f"{ROOT}:{tmp_path}"})


def _words(tmp_path: Path, batch_rows: int) -> list[str]:
    clicks = str(tmp_path / "clicks.npz")
    return ["--clicks", clicks, "--batch-rows", str(batch_rows), "--mode", "hourly"]


def test_a_contestant_learns_what_it_is_given_as_often_as_it_is_asked(
    child: Place, tmp_path: Path
) -> None:
    """Its answers are not mixed up with what a library prints, and tell time and mean loss."""
    with contestant("child", child, _words(tmp_path, 2)) as ready:
        turns = in_turns([ready], rounds=1, times=3)

    assert ready.versions == {"child": "1"}
    assert [turn.loss for turn in turns["child"]] == [12.0, 12.0]  # of 7 + 8 and 9
    assert all(turn.seconds > 0 for turn in turns["child"])


def test_a_contestant_that_ends_says_why(child: Place, tmp_path: Path) -> None:
    """A run does not wait for a process that is gone."""
    with (
        contestant("child", child, _words(tmp_path, 1)) as ready,
        pytest.raises(Refused, match="child ended with 1") as found,
    ):
        ready.learn(1)

    assert "too many batches" in found.value.hint
