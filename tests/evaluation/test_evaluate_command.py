"""`twintide evaluate`: the report that scripts read, checked against a plain recomputation."""

import json
import signal
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.console.conftest import Twintide, hour, stream, write_config
from tests.evaluation.stopping import gone_on, stopped
from tests.trainer.conftest import deployment_in

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


@pytest.mark.long
def test_the_report_has_what_scripts_rely_on(twintide: Twintide, data: Path) -> None:
    """Every key of format 1, with its type; the printed JSON is the written one."""
    done = twintide(
        *("evaluate", "clicks.parquet", "--policy", "nightly+hourly", "--policy", "popular-1h"),
        *("--json", "--score-until", "2026-03-02T06:00Z"),
    )
    report = done.json

    assert report == json.loads((data.parent / "twintide-evaluation" / "report.json").read_text())
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
        "hours": 32,
        "gaps": [],
        "null_columns": [],
    }
    assert "partial" not in report
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


@pytest.mark.long
def test_a_page_is_made_and_the_work_folder_goes(twintide: Twintide, data: Path) -> None:
    """What stays is the report and its page; with --keep also what they were made from."""
    done = twintide("evaluate", "clicks.parquet", "--policy", "popular-1h", "--out", "here")
    here = data.parent / "here"
    assert sorted(path.name for path in here.iterdir()) == ["report.html", "report.json"]
    assert (here / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
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


def with_strays(data: Path, *days: int) -> None:
    """The same file with one click each that many days away."""
    events = pq.read_table(data)
    clicks = events.filter(events["clicked"])
    at = clicks.column_names.index("event_at")
    for number, away in enumerate(days):
        stray = clicks.slice(number, 1)
        moved = pc.add(stray["event_at"], pa.scalar(timedelta(days=away), pa.duration("ms")))
        stray = stray.set_column(at, events.schema.field("event_at"), moved)
        events = pa.concat_tables([events, stray.cast(events.schema)])
    pq.write_table(events, data)


def popular(data: Path) -> dict[str, Any]:
    report = json.loads((data.parent / "twintide-evaluation" / "report.json").read_text())
    (policy,) = report["policies"]
    found: dict[str, Any] = policy
    return found


@pytest.mark.long
def test_stray_events_cost_no_walk_through_empty_hours(twintide: Twintide, data: Path) -> None:
    """Long ago, not so long ago, and ahead: nothing is due in an empty hour, the gaps are named,
    and the same clicks are scored.
    """
    days = (-9_000, -400, 400)
    command = ("evaluate", "clicks.parquet", "--policy", "popular-1h")
    twintide(*command)
    clean = popular(data)
    with_strays(data, *days)

    done = twintide(*command)

    stray = popular(data)
    assert stray["versions"] <= clean["versions"] + 8 * len(days)  # lists made, one a tick
    assert stray["positives"] == clean["positives"] + 1
    assert stray["hours"][:-1] == clean["hours"]
    assert done.out.count("note: no event for ") == len(days)


def test_one_click_is_refused_and_no_event_too(twintide: Twintide, data: Path) -> None:
    """Each in a sentence, and no folder is left."""
    events = pq.read_table(data)
    pq.write_table(events.filter(events["clicked"]).slice(0, 1), data)
    one = twintide("evaluate", "clicks.parquet")
    pq.write_table(events.slice(0, 0), data)
    none = twintide("evaluate", "clicks.parquet")

    assert (one.code, "nothing would be scored" in one.err) == (2, True)
    assert (none.code, "holds no event" in none.err) == (2, True)
    assert not (data.parent / "twintide-evaluation").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_interrupted_evaluation_reports_what_it_has_and_goes_on_when_asked_again(
    data: Path,
) -> None:
    """SIGTERM, as Ctrl-C, of one that has two processes: the report says how far it came, and what
    was done stays until the same is asked again.
    """
    ended = stopped(data.parent, 10, signal.SIGTERM)

    assert ended.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in ended.stderr
    assert "note: interrupted at 2026-03-01T" in ended.stdout
    report = json.loads((data.parent / "twintide-evaluation" / "report.json").read_text())
    assert 0.05 < report["partial"]["done_ratio"] < 1
    folder = data.parent / "twintide-evaluation"
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json", "work"]

    done = gone_on(data.parent)

    assert "note: interrupted" not in done.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "report.json"]
