"""`twintide evaluate`: the report that scripts read, checked against a plain recomputation."""

import json
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.console.conftest import Twintide, deployment_in, hour, stream, write_config

DAY_HOURS = 24
Click = tuple[datetime, int]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty-two hours of events in a file, and the configuration for them beside it."""
    deployment = deployment_in(tmp_path / "data")
    write_config(deployment, tmp_path)
    pq.write_table(stream(deployment, hours=32), tmp_path / "clicks.parquet")
    return tmp_path / "clicks.parquet"


def clicks_of(data: Path) -> list[Click]:
    rows = pq.read_table(data).to_pylist()
    return [(row["event_at"], row["item_id"]) for row in rows if row["clicked"]]


def popular_last_hour(clicks: list[Click], now: datetime, *, k: int) -> list[set[int]]:
    """Every list that is right: most clicked first, ties in any order at the end."""
    counts = Counter(item for at, item in clicks if now - timedelta(hours=1) <= at < now)
    ranked = counts.most_common()
    if len(ranked) <= k:
        return [set(counts)] * 2
    edge = ranked[k - 1][1]
    return [{item for item, n in ranked if n > edge}, {item for item, n in ranked if n >= edge}]


def test_the_report_has_what_scripts_rely_on(twintide: Twintide, data: Path) -> None:
    """Every key of format 1, with its type; the printed JSON is the written one."""
    done = twintide(
        *("evaluate", "clicks.parquet", "--policy", "nightly+hourly", "--policy", "popular-1h"),
        *("--json", "--score-until", "2026-03-02T06:00Z"),
    )
    report = done.json

    assert report == json.loads((data.parent / "evaluation" / "report.json").read_text())
    assert report["format"] == 1
    clicks = clicks_of(data)
    events = pq.read_table(data)
    assert report["data"] == {
        "path": "clicks.parquet",
        "events": len(events),
        "positives": len(clicks),
        "users": len(set(events["user_id"].to_pylist())),
        "items": len(set(events["item_id"].to_pylist())),
        "first_at": f"{events['event_at'][0].as_py():%Y-%m-%dT%H:%M:%SZ}",
        "last_at": f"{events['event_at'][-1].as_py():%Y-%m-%dT%H:%M:%SZ}",
    }
    assert [(each["name"], each["kind"]) for each in report["policies"]] == [
        ("nightly+hourly", "model"),
        ("popular-1h", "baseline"),
    ]
    for policy in report["policies"]:
        check_policy(policy, clicks)


def check_policy(policy: dict[str, Any], clicks: list[Click]) -> None:
    """One policy's part, scored over the first six hours of the second day."""
    assert isinstance(policy["train_seconds"], float)
    assert isinstance(policy["versions"], int)
    starts = [f"2026-03-02T0{number}:00:00Z" for number in range(6)]
    assert [each["start_at"] for each in policy["hours"]] == starts
    scored = [at for at, _ in clicks if hour(DAY_HOURS) <= at < hour(DAY_HOURS + 6)]
    assert policy["positives"] == len(scored)
    assert sum(each["positives"] for each in policy["hours"]) == len(scored)
    for scope in (policy, *policy["hours"]):
        recalls = [scope[f"recall@{k}"] for k in (10, 50, 100)]
        assert recalls == sorted(recalls)
        assert all(0 <= recall <= 1 for recall in recalls)


def test_popularity_is_what_plain_counting_says(twintide: Twintide, data: Path) -> None:
    """Recall@10 of popular-1h, hour by hour: hits of the lists that counting by hand allows."""
    (policy,) = twintide("evaluate", "clicks.parquet", "--policy", "popular-1h", "--json").json[
        "policies"
    ]
    clicks = clicks_of(data)

    assert len(policy["hours"]) == 8
    for each in policy["hours"]:
        now = datetime.fromisoformat(each["start_at"])
        sure, possible = popular_last_hour(clicks, now, k=10)
        targets = [item for at, item in clicks if now <= at < now + timedelta(hours=1)]
        hits = round(each["recall@10"] * len(targets))
        assert each["positives"] == len(targets)
        assert sum(item in sure for item in targets) <= hits
        assert hits <= sum(item in possible for item in targets)


def test_a_plot_is_drawn_and_the_work_folder_goes(twintide: Twintide, data: Path) -> None:
    """What stays is the report and a PNG; with --keep also what they were made from."""
    done = twintide("evaluate", "clicks.parquet", "--policy", "popular-1h", "--out", "here")
    here = data.parent / "here"
    assert sorted(path.name for path in here.iterdir()) == ["recall.png", "report.json"]
    assert (here / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert "popular-1h" in done.out
    assert "here/report.json" in done.out

    twintide("evaluate", "clicks.parquet", "--policy", "popular-1h", "--out", "here", "--keep")

    (work,) = [path for path in here.iterdir() if path.is_dir()]
    assert (work / "shards").is_dir()


def test_a_span_without_anything_to_score_is_refused(twintide: Twintide, data: Path) -> None:
    """Scoring that would begin after the end is a mistake of the caller."""
    done = twintide("evaluate", "clicks.parquet", "--score-from", "2027-01-01T00:00Z")

    assert done.code == 2
    assert "nothing would be scored" in done.err
