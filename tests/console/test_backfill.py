from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from tests.console.conftest import Twintide, deployment_in, stream, write_config
from twintide.config import fill_in


@pytest.mark.promise("S14")
@pytest.mark.long
def test_days_of_history_become_nights(twintide: Twintide, kafka: str, tmp_path: Path) -> None:
    """The recipe of docs/operations.md on three days: replay, ingest, nights; not twice."""
    own = {"kafka": {"bootstrap_servers": [kafka], "topic": f"backfill-{uuid4().hex[:8]}"}}
    deployment = fill_in(deployment_in(tmp_path / "data"), own)
    write_config(deployment, tmp_path)
    events = stream(deployment, hours=72)
    half = len(events) // 2
    parts = tmp_path / "history"
    parts.mkdir()
    pq.write_table(events.slice(half), parts / "b.parquet")
    pq.write_table(events.slice(0, half), parts / "a.parquet")

    replayed = twintide("replay", "history", "--json")
    ingested = twintide("ingest", "--until-caught-up", "--json")
    again = twintide("replay", "history")
    trained = twintide("train", "nightly", "--json")

    assert replayed.json["events"] == replayed.json["of"] == len(events)
    assert ingested.json["rows"] == len(events)
    assert (again.code, "--again" in again.err) == (2, True)
    assert trained.code == 0, trained.err
    assert len(list((tmp_path / "data" / "checkpoints").glob("nightly-*"))) == 3
