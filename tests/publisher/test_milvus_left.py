"""A Milvus that has lost what it held, and one that is no more: publishing goes on all the same."""

from pathlib import Path
from typing import Any

import pytest

from publisher import gc
from publisher.audit import verify
from publisher.publish import publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher import hours
from tests.publisher.milvus_fixture import Milvus, milvus_in
from tests.publisher.test_milvus import at_of, deployment_in, hour_of
from twintide.config import Deployment, fill_in
from twintide.errors import Retryable
from twintide.versions import read_state, read_version_manifest, version_names

CLOCK = made.held_clock()
pytestmark = pytest.mark.long


def night(deployment: Deployment, sequence: int) -> None:
    hours.night(deployment, made.item_range(1000, 100), sequence=sequence)


def test_a_checkpoint_whose_collection_is_lost_is_published_again(
    tmp_path: Path, milvus: Milvus
) -> None:
    """As the error of who loads it advises: into another collection, though its version is live and
    every file of it is sound.
    """
    deployment = deployment_in(tmp_path, milvus, prefix="emptied")
    night(deployment, 1)
    publish(deployment, clock=CLOCK, judge=False)
    milvus.service("emptied").drop("emptied_000001")

    again = publish(deployment, checkpoint="nightly-000001", clock=CLOCK)
    same = publish(deployment, clock=CLOCK)

    assert (again.version, again.promoted) == ("v000002", True)
    assert load_version(deployment.versions_dir, "v000002").index.items == 100
    assert same.why.startswith("nothing new: version v000002")


def test_a_milvus_that_is_reached_otherwise_is_the_same_one(tmp_path: Path, milvus: Milvus) -> None:
    """With more patience or another token: an hour goes on in the collection of its night, and what
    versions name is not taken for another installation's.
    """
    deployment = deployment_in(tmp_path, milvus, prefix="patient")
    night(deployment, 1)
    publish(deployment, clock=CLOCK, judge=False)
    patient = fill_in(deployment, {"publishing": {"milvus": {"timeout_seconds": 31.0}}})
    hour_of(patient, 1010)

    published = publish(patient, clock=CLOCK, judge=False)

    assert published.promoted
    assert gc.run(patient).collections == ()
    places = [at_of(patient, number) for number in (1, 2)]
    assert [each.collection for each in places] == ["patient_000001"] * 2
    assert [each.service.timeout_seconds for each in places] == [30.0, 31.0]
    assert verify(patient) == {"v000001": None, "v000002": None}


@pytest.mark.parametrize("to", ["files", "another Milvus"])
def test_who_left_a_milvus_that_is_no_more_publishes_without_it(
    tmp_path: Path, milvus: Milvus, to: str
) -> None:
    """Versions that lie there cannot be asked: the gate says so of the live one, and passes over it
    among those before. gc takes them when their turn comes, and `verify` tells what of the rest.
    """
    declared: dict[str, Any] = {"milvus": None}
    if to != "files":
        declared = {"milvus": {"uri": milvus.uri, "prefix": "moved", "timeout_seconds": 30.0}}
    with milvus_in(tmp_path / "own.db") as own:
        there = deployment_in(tmp_path, own, prefix="gone")
        night(there, 1)
        publish(there, clock=CLOCK, judge=False)
        own.stop()
        with pytest.raises(Retryable, match=own.uri):
            publish(there, clock=CLOCK)
        left = fill_in(there, {"publishing": declared})

        first = publish(left, clock=CLOCK)
        night(left, 2)
        second = publish(left, clock=CLOCK)

        assert (first.version, first.promoted) == ("v000002", True)
        assert own.uri in first.gate.notes[0]
        assert (second.version, second.promoted) == ("v000003", True)
        assert read_version_manifest(left.versions_dir, "v000002").checkpoint == "nightly-000001"
        found = verify(left)
        assert [name for name, problem in found.items() if problem] == ["v000001"]
        assert own.uri in (found["v000001"] or "")
        gc.run(left)
        assert version_names(left.versions_dir) == ["v000002", "v000003"]
        assert read_state(left.versions_dir).current == "v000003"
        own.start()
