"""What users get wrong is told in one message with a hint, and the documented exit code."""

import socket
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.offline import write_shards
from tests.console.conftest import Done, Twintide, hour, stream, write_config
from tests.trainer.conftest import deployment_in
from twintide.config import fill_in

FAILED, REFUSED = 1, 2


def told(done: Done, code: int, *words: str) -> None:
    """One message and one hint on standard error, nothing else, and this exit code."""
    error, hint, *more = [line for line in done.err.splitlines() if line]
    assert error.startswith("error: ")
    assert hint.startswith("hint:  ")
    assert more == []
    for word in words:
        assert word in done.err
    assert (done.code, done.out) == (code, "")


def test_a_missing_configuration_says_how_to_get_one(twintide_process: Twintide) -> None:
    """The default is twintide.yaml of the current folder."""
    told(
        twintide_process("status"),
        REFUSED,
        "there is no file twintide.yaml",
        "twintide config show >",
    )


def test_an_unknown_key_is_named(twintide: Twintide, bare: Path) -> None:
    """A misspelt key changes nothing silently."""
    bare.write_text(bare.read_text().replace('"threads"', '"treads"'))

    told(twintide("config", "check"), REFUSED, "training.treads", "config show")


def test_a_missing_data_file_is_named(twintide: Twintide, bare: Path) -> None:
    """For replay, evaluate and demo alike."""
    for command in (("replay",), ("evaluate",)):
        told(twintide(*command, "none.parquet"), REFUSED, "there is no data file none.parquet")
    done = twintide("demo", "-c", bare, "--data", "none.parquet")
    told(done, REFUSED, "there is no data file none.parquet")


def test_a_broker_that_does_not_answer_is_named(twintide: Twintide, tmp_path: Path) -> None:
    """With its address, and how to get a local one."""
    nobody = {"kafka": {"bootstrap_servers": ["127.0.0.1:9"]}}
    deployment = fill_in(deployment_in(tmp_path / "data"), nobody)
    write_config(deployment, tmp_path)
    pq.write_table(stream(deployment, hours=1), tmp_path / "clicks.parquet")

    told(twintide("replay", "clicks.parquet"), FAILED, "127.0.0.1:9", "twintide broker")
    told(twintide("demo", "--kafka", "127.0.0.1:9"), FAILED, "127.0.0.1:9", "without --kafka")


def test_a_column_that_the_events_do_not_have_is_named(twintide: Twintide, tmp_path: Path) -> None:
    """A feature of a column that nobody declared, and a column that the file lacks."""
    deployment = deployment_in(tmp_path / "data")
    path = write_config(deployment, tmp_path)
    pq.write_table(stream(deployment, hours=1).drop(["item_id"]), tmp_path / "clicks.parquet")
    told(twintide("evaluate", "clicks.parquet"), REFUSED, "no column ['item_id']", "data_file")

    path.write_text(path.read_text().replace('"column": "region"', '"column": "country"'))

    told(twintide("config", "check"), REFUSED, "country")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("train", "hourly"), ("no nightly checkpoint", "twintide train nightly")),
        (("train", "nightly"), ("no day is complete", "twintide ingest")),
        (("publish",), ("no checkpoint", "twintide train nightly")),
        (("recommend", "--user", "1"), ("no version is live", "twintide publish")),
        (("rollback", "--reason", "x"), ("nothing to go back to", "twintide versions")),
        (("release",), ("not on hold", "twintide publish")),
        (("show", "v000001"), ("no version 'v000001'", "twintide versions")),
        (("verify", "v000001"), ("no version 'v000001'", "twintide versions")),
        (("diff", "v000001", "v000002"), ("no version 'v000001'", "twintide versions")),
        (("rewind", "--to", "nightly-000001"), ("no checkpoint", "twintide checkpoints")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_what_comes_too_early_says_what_comes_first(
    twintide: Twintide, bare: Path, command: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """On an empty topic and an empty folder nothing breaks, and each says what is missing."""
    told(twintide(*command), REFUSED, *words)


def test_a_day_without_clicks_cannot_be_asked_for(twintide: Twintide, tmp_path: Path) -> None:
    """A nightly run of a day that had none says so; what is learnt stays."""
    deployment = deployment_in(tmp_path / "data")
    write_shards(deployment, stream(deployment, hours=20), complete_until=hour(72))
    write_config(deployment, tmp_path)

    done = twintide("train", "nightly", "--date", "2026-03-02")

    told(done, REFUSED, "no clicks on day 2026-03-02", "--date")


def test_data_without_a_click_is_refused(twintide: Twintide, tmp_path: Path) -> None:
    """Impressions alone teach nothing; the hint names what declares a click."""
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    events = stream(deployment)
    place = events.column_names.index("clicked")
    unclicked = events.set_column(place, "clicked", pa.repeat(pa.scalar(value=False), len(events)))
    pq.write_table(unclicked, tmp_path / "clicks.parquet")

    told(twintide("evaluate", "clicks.parquet"), REFUSED, "but no click", "events.positive")


def test_a_policy_that_does_not_exist_is_told_beside_those_that_do(
    twintide: Twintide, bare: Path
) -> None:
    """Before any work begins."""
    done = twintide("evaluate", "clicks.parquet", "--policy", "weekly")

    told(done, REFUSED, "no policy 'weekly'", "nightly+hourly")


def test_a_demo_removes_nothing_that_no_demo_made(twintide: Twintide, tmp_path: Path) -> None:
    """A folder with something else in it is left alone."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")

    told(twintide("demo", "--dir", "precious"), REFUSED, "precious", "--dir")

    assert (tmp_path / "precious" / "thesis.txt").read_text() == "years of work"


def test_a_port_that_is_taken_is_told_by_the_broker(twintide: Twintide) -> None:
    """Another broker there would otherwise be taken for the new one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = twintide("broker", "--port", taken.getsockname()[1])

    told(done, REFUSED, "cannot be had", "--port")


def test_an_instant_that_is_none_is_a_usage_error(twintide: Twintide, bare: Path) -> None:
    """As any wrong option: exit code 2, and the option is named."""
    done = twintide("train", "hourly", "--now", "yesterday")

    assert done.code == REFUSED
    assert "--now" in done.err
    assert "Traceback" not in done.err
