"""What an index costs is told beside an exact search for the same model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluation.report import report
from evaluation.runner import Runner
from tests.console.conftest import stream
from tests.evaluation import made
from tests.evaluation.world import HOURS, Evaluation, places
from tests.trainer.conftest import deployment_in

CLICKS = made.scored(4, 60, seed=1)


def exact(skill: float) -> Runner:
    found, _ = made.runner("hourly", CLICKS, skill=skill)
    found.policy = replace(found.policy, name="hourly, exact", exact_of="hourly")
    return found


def test_an_exact_search_is_no_policy_and_the_report_says_what_the_index_costs() -> None:
    """Click by click; a policy without one says nothing."""
    runners = [made.runner(name, CLICKS, skill=0.5)[0] for name in ("hourly", "popular-1h")]
    found = report([runners[0], exact(0.9), runners[1]], data=made.data(CLICKS))

    model, plain = found["policies"]
    lost = model["recall@10"] - model["index"]["exact"]["recall@10"]
    assert model["index"]["difference"]["recall@10"] == pytest.approx(lost, abs=2e-6)
    assert lost < 0
    assert "index" not in plain
    assert {each["one"] for each in found["differences"]} == {"hourly"}
    words = "the index costs hourly, beside an exact search: -0."
    assert any(said.startswith(words) for said in found["verdict"])


def found_by(tmp_path: Path, changes: dict[str, Any]) -> list[dict[Any, int]]:
    """Where each click's item stood: by the index, and exactly."""
    events = stream(deployment_in(tmp_path), hours=HOURS)
    one = Evaluation(tmp_path / "one", events, ["nightly"], is_exact=True, changes=changes)
    return [places(each) for each in one.run()]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_index_that_looks_at_all_is_exact_and_one_that_does_not_finds_less(
    tmp_path: Path,
) -> None:
    """The same model either way, and what it costs is learnt once."""
    for name in ("flat", "ivf"):
        (tmp_path / name).mkdir()
    by_all, exactly = found_by(tmp_path / "flat", {"publishing": {"index": "flat"}})
    by_few, again = found_by(tmp_path / "ivf", {"publishing": {"index": "ivf", "nprobe": 1}})

    assert by_all == exactly == again
    assert sum(place < 255 for place in by_few.values()) < sum(
        place < 255 for place in exactly.values()
    )
