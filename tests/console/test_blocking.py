import json
from pathlib import Path

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
