"""The demo, small: a file through a real Kafka and the whole line, to an answer and a rollback."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.console.conftest import Twintide, stream, write_config
from tests.trainer.conftest import deployment_in

HOURS = 30


@pytest.mark.long
def test_the_whole_line_runs_and_leaves_a_deployment_to_try(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """Every message in exactly one shard, versions through the gate, a rollback that holds until
    release; afterwards the other commands work on what the demo left.
    """
    deployment = deployment_in(tmp_path / "unused")
    events = stream(deployment, hours=HOURS)
    pq.write_table(events, tmp_path / "clicks.parquet")
    config = write_config(deployment, tmp_path)

    done = twintide(
        *("demo", "-c", config, "--data", "clicks.parquet", "--kafka", kafka, "--json"),
    )

    assert done.code == 0, done.err
    found = done.json
    ingest = found["ingest"]
    assert (ingest["messages"], ingest["rejected"]) == (len(events), 0)
    assert ingest["rows"] == len(events)
    names = [policy["name"] for policy in found["report"]["policies"]]
    assert {"nightly+hourly", "nightly", "hourly", "popular-1h"} <= set(names)
    assert len(found["answer"]["items"]) == 10
    back = found["rollback"]
    assert (back["held"]["promoted"], back["after_release"]["promoted"]) == (False, True)
    assert found["versions"][0]["state"] == "live"
    assert all(Path(path).stat().st_size for path in found["paths"])

    left = twintide("status", "-c", "twintide-demo/twintide.yaml", "--json").json
    assert left["live"] == back["after_release"]["version"]
    assert twintide("verify", "-c", "twintide-demo/twintide.yaml", "--json").json["sound"] is True


def test_a_demo_without_a_whole_day_says_so(twintide: Twintide, tmp_path: Path) -> None:
    """A day is the least that a nightly run can learn: told, with a hint, before it begins."""
    deployment = deployment_in(tmp_path / "unused")
    pq.write_table(stream(deployment, hours=5), tmp_path / "clicks.parquet")
    config = write_config(deployment, tmp_path)

    done = twintide("demo", "-c", config, "--data", "clicks.parquet")

    assert done.code == 2
    assert done.err.startswith("error: nothing would be scored")
    assert not (tmp_path / "twintide-demo").exists()
