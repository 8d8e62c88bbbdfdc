"""`twintide config diff`: what a change will do, said before it is done; and what is left out."""

import json
from pathlib import Path

import pytest

from console.train import left_out
from tests.console.conftest import Twintide
from twintide.errors import Refused

NOW = ("--now", "2026-03-02T13:00Z")


def test_a_diff_says_what_a_change_will_do(twintide: Twintide, published: Path) -> None:
    """Key by key and all together, against the newest checkpoint or another file alike; and that is
    what the next run does.
    """
    config = json.loads(published.read_text())
    config["model"]["output_width"] = 16
    config["training"]["hourly"]["batch_rows"] = 32
    new = published.with_name("new.yaml")
    new.write_text(json.dumps(config))

    trained = twintide("config", "diff", "-c", "new.yaml", "--json").json
    files = twintide("config", "diff", "-c", "new.yaml", "--against", published.name, "--json").json
    text = twintide("config", "diff", "-c", "new.yaml").out
    run = twintide("train", "hourly", "-c", "new.yaml", *NOW)

    assert [each["path"] for each in trained["differences"]] == ["model.output_width"]
    assert trained["differences"][0]["effects"] == ["warm start"]
    assert [each["path"] for each in files["differences"]] == [
        "model.output_width",
        "training.hourly.batch_rows",
    ]
    assert (trained["slices_remade"], trained["hours_wait"], trained["refused"]) == (
        False,
        True,
        [],
    )
    assert "Begins anew: the last layer of both towers (16 wide, 8 before)" in text
    assert "Hourly passes wait for the next nightly retrain" in text
    assert (run.code, "the last layer of both towers" in run.err) == (2, True)


def test_without_a_difference_that_is_said(twintide: Twintide, published: Path) -> None:
    """Of a file and what was trained with it."""
    assert twintide("config", "diff", "-c", published.name).out == "the two are the same\n"


def test_without_a_checkpoint_there_is_nothing_to_compare_with(
    twintide: Twintide, sharded: Path
) -> None:
    """The hint names the other way."""
    refused = twintide("config", "diff", "-c", sharded.name)

    assert (refused.code, "--against names another" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-01-05T04:00Z..2026-01-05T06:00Z", "2026-01-05T04:00:00Z..2026-01-05T06:00:00Z"),
        ("2026-01-05T04:00..2026-01-05T07:00+01:00", "2026-01-05T04:00:00Z..2026-01-05T06:00:00Z"),
        ("0:1200-1300", "0:1200-1300"),
    ],
)
def test_what_is_left_out_is_an_interval_or_offsets(text: str, meant: str) -> None:
    """As a person types it."""
    assert str(left_out(text)) == meant


@pytest.mark.parametrize(
    "text", ["", "yesterday", "0:5-5", "0:9-3", "2026-01-05..2026-01-05", "x:1-2", "2026-01-05.."]
)
def test_what_means_nothing_cannot_be_left_out(text: str) -> None:
    """The two notations are said."""
    with pytest.raises(Refused, match="is nothing that can be left out") as refused:
        left_out(text)
    assert "0:1200-1300" in refused.value.hint
