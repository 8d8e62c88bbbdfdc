import json
from pathlib import Path

from publisher.publish import publish
from tests.console.conftest import Twintide
from tests.publisher import checkpoint_fixture as made


def test_a_person_blocks_lists_and_unblocks(twintide: Twintide) -> None:
    """Ids as they are typed, in the type of the events."""
    Path("twintide.yaml").write_text(json.dumps(made.configuration(Path("data"))), encoding="utf-8")

    assert twintide("blocked").out == "nothing is blocked\n"
    assert twintide("block", "17", "18", "--reason", "withdrawn").code == 0
    assert twintide("unblock", "18").code == 0
    listed = json.loads(twintide("blocked", "--json").out)["items"]
    assert [(each["item"], each["reason"]) for each in listed] == [(17, "withdrawn")]
    assert "withdrawn" in twintide("blocked").out
    refused = twintide("unblock", "18")
    assert (refused.code, "twintide blocked" in refused.err) == (2, True)
    assert twintide("block", "a", "--reason", "x").code == 2


def test_an_id_that_the_live_version_lacks_is_named(twintide: Twintide) -> None:
    """It is blocked all the same: it may be of the next version."""
    values = made.configuration(Path("data"))
    Path("twintide.yaml").write_text(json.dumps(values), encoding="utf-8")
    deployment = made.deployment_at(Path("data"))
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock())

    said = twintide("block", "1001", "17", "--reason", "withdrawn").out
    known = twintide("block", "1002", "--reason", "withdrawn").out

    assert "not in the live version, so perhaps mistyped: 17\n" in said
    assert "mistyped" not in known
    assert len(json.loads(twintide("blocked", "--json").out)["items"]) == 3
