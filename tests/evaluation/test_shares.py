"""Policies are shared out among processes so that the last one is soon done."""

import pyarrow as pa
import pytest

from evaluation.lanes import Lane, Scoring, lanes_of
from evaluation.policies import beside_each_other, parse_policy
from evaluation.shares import Share, shares_of
from evaluation.span import sorted_ms
from evaluation.workfolder import write_all
from tests.console.conftest import stream
from tests.evaluation.world import HOURS, SPAN
from tests.trainer.conftest import deployment_in

NAMES = ("nightly+hourly", "hourly", "nightly", "popular-1h", "co-visitation")


@pytest.fixture(scope="module")
def lanes(tmp_path_factory: pytest.TempPathFactory) -> list[Lane]:
    """Three models with two seeds, and two lists: seven units on two paces."""
    folder = tmp_path_factory.mktemp("evaluation")
    deployment = deployment_in(folder)
    events: pa.Table = stream(deployment, hours=HOURS)
    own = write_all(deployment, events, folder, asked={})
    scoring = Scoring(SPAN, seeds=(1, 2), clicks_ms=sorted_ms(events, own))
    policies = beside_each_other([parse_policy(name) for name in NAMES])
    return lanes_of(own, policies, scoring, folder=folder, slices=folder / "slices")


def names(share: Share) -> list[str]:
    units = [unit for way in share for unit in way.units]
    return [f"{each.runners[0].policy.name} {each.runners[0].seed}" for each in units]


def seconds(share: Share) -> float:
    return sum(sum(way.seconds) for way in share)


@pytest.mark.parametrize("processes", [1, 2, 3, 7, 50])
def test_each_unit_is_in_one_share(lanes: list[Lane], processes: int) -> None:
    """Of as many processes as were asked for, or as there are units."""
    shares = shares_of(lanes, processes=processes)

    assert len(shares) == min(processes, 7)
    found = [name for share in shares for name in names(share)]
    assert len(found) == len(set(found)) == 7
    assert all(names(share) for share in shares)


def test_shares_are_about_alike(lanes: list[Lane]) -> None:
    """The largest of two is not a fifth larger than half of all, with what both do."""
    whole, two = shares_of(lanes, processes=1), shares_of(lanes, processes=2)

    assert max(map(seconds, two)) < 1.2 * seconds(whole[0]) / 2


def test_what_is_soon_done_is_not_shared_out(lanes: list[Lane]) -> None:
    """A process takes seconds to begin."""
    lists = [lane for lane in lanes if lane.units[0].runners[0].policy.kind == "baseline"]

    assert len(shares_of(lists[:1], processes=None)) == 1
