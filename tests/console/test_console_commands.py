"""The commands on a small line: what each prints, in words and as JSON, and what it leaves."""

import json
from pathlib import Path

import pytest

from console.train import publish_and_tidy
from tests.console.conftest import HOURS, Twintide, hour
from twintide.clock import HeldClock, iso
from twintide.config import load

REFUSED = 2
NIGHT = "2026-03-02T00:05Z"


def test_a_line_is_trained_published_and_asked(twintide: Twintide, sharded: Path) -> None:
    """From shards to an answer, each step naming the next."""
    night = twintide("train", "nightly", "--now", NIGHT)
    assert "nightly-000001: learnt" in night.out
    assert "next: `twintide publish -c twintide.yaml`" in night.out

    made = twintide("publish", "--json").json
    assert (made["version"], made["promoted"], made["gate"]["passed"]) == ("v000001", True, True)

    answer = twintide("recommend", "--user", "7", "-k", "3", "--json").json
    assert answer["version"] == "v000001"
    assert [set(item) for item in answer["items"]] == [{"item_id", "score"}] * 3
    assert len({item["item_id"] for item in answer["items"]}) == 3


def test_recommend_takes_what_a_request_takes(twintide: Twintide, published: Path) -> None:
    """Columns of the event, items clicked last, items to leave out; a wrong column is named."""
    plain = twintide("recommend", "--user", "7", "-k", "5", "--json").json
    first = plain["items"][0]["item_id"]

    without = twintide(
        *("recommend", "--user", "7", "-k", "5", "--exclude", first, "--recent", "3", "--json"),
        *("--features", '{"region": 3}'),
    ).json
    wrong = twintide("recommend", "--user", "7", "--features", '{"mood": 3}')

    assert first not in [item["item_id"] for item in without["items"]]
    assert (wrong.code, "'mood'" in wrong.err) == (REFUSED, True)
    by_likes = twintide("recommend", "--user", "7", "--objectives", '{"like": 1}')
    assert (by_likes.code, "no 'like'" in by_likes.err) == (REFUSED, True)
    by_clicks = ("recommend", "--user", "7", "-k", "5", "--objectives", '{"click": 2}', "--json")
    assert twintide(*by_clicks).json == plain


def test_a_second_run_has_nothing_to_learn(twintide: Twintide, published: Path) -> None:
    """It says so and ends well: cron may ring as often as it likes."""
    done = twintide("train", "hourly", "--now", "2026-03-02T12:00Z")

    assert (done.code, done.out) == (0, "nothing learnt: nothing new before 2026-03-02T11:40:00Z\n")


def test_training_leaves_curves(twintide: Twintide, sharded: Path) -> None:
    """One run of TensorBoard for each run of a line."""
    twintide("train", "nightly", "--now", NIGHT)
    twintide("train", "hourly", "--now", "2026-03-02T12:00Z")

    curves = load(sharded).data_dir / "curves"
    assert sorted(path.name for path in curves.iterdir()) == [
        "hourly-2026-03-02T1200Z",
        "nightly-2026-03-01",
    ]


def test_a_place_without_curves_costs_no_training(twintide: Twintide, sharded: Path) -> None:
    """Curves are for people to look at: a folder that cannot be made is a warning, no failure."""
    curves = load(sharded).data_dir / "curves"
    curves.write_text("here is no folder")

    done = twintide("train", "nightly", "--now", NIGHT)

    assert (done.code, "nightly-000001: learnt" in done.out) == (0, True)
    assert done.err.count("curves_not_drawn") == 1


def test_versions_are_listed_shown_compared_and_verified(
    twintide: Twintide, published: Path
) -> None:
    """The newest first for a person, the oldest first for a script."""
    listed = twintide("versions", "--json").json
    assert [(row["name"], row["state"]) for row in listed] == [
        ("v000001", "previous"),
        ("v000002", "live"),
    ]
    text = twintide("versions").out
    assert text.index("v000002") < text.index("v000001")
    assert twintide("show", "v000002", "--json").json["checkpoint"] == "hourly-000002"
    assert "hourly-000002" in twintide("show", "v000002").out
    assert twintide("diff", "v000001", "v000002", "--json").json["items_gained"] > 0
    assert twintide("verify", "v000002").out == "1 versions: sound\n"
    sound = twintide("verify", "--json").json
    assert (sound["sound"], sound["looked_at"]["checkpoints"]) == (True, 2)


@pytest.mark.parametrize("kind", ["shards", "slices", "checkpoints", "versions"])
def test_verify_finds_one_flipped_byte_anywhere(
    twintide: Twintide, published: Path, kind: str
) -> None:
    """In a shard, a slice, a checkpoint or a version: exit code 1, and the artifact is named."""
    folder = load(published).data_dir / kind
    path = max(
        (path for path in folder.rglob("*") if path.suffix in {".parquet", ".npy", ".faiss"}),
        key=lambda path: path.stat().st_size,
    )
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)

    found = twintide("verify", "--json")

    assert found.code == 1
    assert found.json["sound"] is False
    assert len(found.json["breaches"]) >= 1


def test_verify_names_each_damaged_checkpoint(twintide: Twintide, published: Path) -> None:
    """One whose manifest is cut does not hide the next one."""
    folder = load(published).checkpoints_dir
    manifests = [path / "manifest.json" for path in sorted(folder.iterdir()) if path.is_dir()]
    for path in manifests:
        path.write_bytes(path.read_bytes()[:-30])

    named = [each["what"] for each in twintide("verify", "--json").json["breaches"]]

    assert len(manifests) > 1
    assert {f"checkpoint {path.parent.name}" for path in manifests} <= set(named)


def test_verify_names_each_damaged_slice(twintide: Twintide, published: Path) -> None:
    """Cut footers, a number that is missing and one that is there twice: none hides another, nor
    what is wrong inside of a slice whose footer is sound.
    """
    folder = load(published).slices_dir
    first, second, third, fourth, *_ = sorted(
        folder.rglob("0*.parquet"), key=lambda path: path.stem
    )
    for path in (first, third):
        path.write_bytes(path.read_bytes()[:-30])
    content = bytearray(fourth.read_bytes())
    middle = slice(len(content) // 3, len(content) // 3 + 64)  # more than the header of one page
    content[middle] = bytes(each ^ 1 for each in content[middle])
    fourth.write_bytes(content)
    second.rename(second.with_name("00000999.parquet"))

    breaches = twintide("verify", "--json").json["breaches"]

    named = {each["what"] for each in breaches if "slice" in each["what"]}
    assert {f"slice {path}" for path in (first, third, fourth)} <= named
    assert f"slices of {first.parents[1].name}" in named
    assert f"slice {second.with_name('00000999.parquet')}" in named


def test_a_slice_that_is_there_twice_is_named(twintide: Twintide, published: Path) -> None:
    """Of two with one number nobody can tell which one was learnt."""
    first = min(load(published).slices_dir.rglob("0*.parquet"), key=lambda path: path.stem)
    twin = first.parents[1] / "day=2020-01-01" / first.name
    twin.parent.mkdir()
    twin.write_bytes(first.read_bytes())

    breaches = twintide("verify", "--json").json["breaches"]

    assert [each["what"] for each in breaches] == [f"slices of {first.parents[1].name}"]
    assert first.stem in breaches[0]["problem"]


def test_a_rollback_holds_until_release(twintide: Twintide, published: Path) -> None:
    """The next publish builds and keeps, and does not promote; after release the next one does."""
    back = twintide("rollback", "--reason", "[worse]", "--json").json
    assert (back["current"], back["hold"]["reason"]) == (
        "v000001",
        "rolled back from v000002: [worse]",
    )

    twintide("train", "hourly", "--now", "2026-03-02T13:00Z")
    held = twintide("publish")
    assert held.code == 0
    assert "on hold: rolled back from v000002: [worse]" in held.out

    assert "promotion is allowed again" in twintide("release").out
    assert twintide("publish", "--json").json["promoted"] is True


def test_what_the_gate_refuses_exits_with_2(twintide: Twintide, published: Path) -> None:
    """A checkpoint of an hour before the live one's is older; --no-gate answers for it."""
    for now in ("2026-03-02T13:00Z", "2026-03-02T14:00Z"):
        twintide("train", "hourly", "--now", now)
    assert twintide("publish").code == 0

    older = twintide("publish", "--checkpoint", "hourly-000003")

    assert (older.code, "the gate refused" in older.out) == (REFUSED, True)
    assert twintide("publish", "--checkpoint", "hourly-000003", "--no-gate").code == 0


def test_what_was_rewound_on_purpose_is_published(twintide: Twintide, published: Path) -> None:
    """A third of the items gone is more than this gate allows, but that is what a rewind does."""
    config = json.loads(published.read_text())
    config["publishing"]["gate"]["min_items_ratio"] = 0.99
    published.write_text(json.dumps(config))
    twintide("rewind", "--to", "nightly-000001")

    shrunk = twintide("publish", "--json")

    assert shrunk.code == 0
    notes = "; ".join(shrunk.json["gate"]["notes"])
    assert "it has 124 items, the live version 187: training was rewound" in notes


def test_gc_names_what_would_go_and_what_went(twintide: Twintide, published: Path) -> None:
    """A dry run removes nothing; nothing in use goes."""
    assert twintide("gc", "--dry-run").out == "nothing would go\n"

    kinds = (
        *("versions", "checkpoints", "counts", "vectors", "listings", "slices", "collections"),
    )
    assert twintide("gc", "--json").json == {kind: [] for kind in kinds}


def test_the_scheduler_publishes_and_keeps_the_house_tidy(published: Path) -> None:
    """What `train schedule` does after each run, done twice, changes nothing the second time."""
    deployment = load(published)

    again = publish_and_tidy(deployment, clock=HeldClock(hour(36)))

    assert "nothing new" in again.why


def test_what_is_live_is_refreshed_by_a_command(twintide: Twintide, published: Path) -> None:
    """It says what was counted and what is live now, and lists and status tell both apart."""
    done = twintide("refresh", "--now", "2026-03-02T12:40Z")
    again = twintide("refresh", "--now", "2026-03-02T12:40Z", "--json").json

    assert done.code == 0, done
    assert "version v000003 is live: the weights of v000002, counted to 2026-03-02T12:" in done.out
    assert (again["promoted"], again["version"]) == (False, "v000003")
    rows = {row["name"]: row for row in twintide("versions", "--json").json}
    learnt, counted = (rows["v000003"][f"newest_{what}_at"] for what in ("event", "counted"))
    assert rows["v000002"]["newest_counted_at"] is None
    assert learnt == rows["v000002"]["newest_event_at"] < counted
    seen = twintide("status", "--now", "2026-03-02T12:40Z", "--json").json
    assert {"to": "its statistics", "newest_event_at": counted}.items() <= (
        seen["freshness"][-1].items()
    )
    assert "counted" in twintide("show", "v000003").out


def test_status_of_a_line_that_is_well(twintide: Twintide, published: Path) -> None:
    """Every hop of a click and nothing wrong, a moment after the publish."""
    deployment = load(published)

    seen = twintide("status", "--now", "2026-03-02T12:00Z", "--json").json

    assert seen["live"] == "v000002"
    assert [each["partition"] for each in seen["partitions"]] == [0, 1]
    assert (seen["nightly"]["day"], seen["hourly"]["name"]) == ("2026-03-01", "hourly-000002")
    ages = {hop["to"]: hop["newest_event_at"] for hop in seen["freshness"]}
    assert ages["checkpoint"] == ages["live version"] < ages["slices"] < ages["shards"]
    assert ages["shards"] < iso(hour(HOURS))
    assert deployment.kafka.topic == seen["topic"]


def test_status_names_what_is_wrong_with_the_command_that_mends_it(
    twintide: Twintide, published: Path
) -> None:
    """Silent partitions, a due night, unlearnt hours, a hold: each with what to type."""
    twintide("hold", "--reason", "audit")

    seen = twintide("status", "--now", "2026-03-03T02:30Z")
    wrong = twintide("status", "--now", "2026-03-03T02:30Z", "--json").json["problems"]

    assert [each["command"] for each in wrong] == [
        "twintide ingest -c twintide.yaml",
        "twintide train nightly -c twintide.yaml",
        "twintide train hourly -c twintide.yaml",
        "twintide release -c twintide.yaml",
    ]
    for each in wrong:
        assert each["what"] in seen.out


def test_status_of_nothing_says_where_to_begin(twintide: Twintide, bare: Path) -> None:
    """An empty folder is no error: one line says that nothing came in, one what to type."""
    done = twintide("status")

    assert done.code == 0
    assert "Nothing has come in yet" in done.out
    assert "twintide ingest -c twintide.yaml" in done.out


def test_status_shows_the_rest_where_something_is_damaged(
    twintide: Twintide, published: Path
) -> None:
    """A checkpoint without a readable manifest is a problem, and the versions are still listed."""
    folder = load(published).checkpoints_dir
    (folder / "hourly-000002" / "manifest.json").write_text("{")

    seen = twintide("status", "--json").json

    assert seen["live"] == "v000002"
    assert "manifest.json" in seen["problems"][0]["what"]
    assert seen["problems"][0]["command"] == "twintide verify -c twintide.yaml"


def test_config_show_is_a_configuration_to_start_from(twintide: Twintide, tmp_path: Path) -> None:
    """What it prints is accepted as it is, with every key in it."""
    shown = twintide("config", "show")
    (tmp_path / "twintide.yaml").write_text(shown.out)

    assert twintide("config", "check").code == 0
    assert twintide("config", "show", "--json").json["training"]["day_starts_at"] == "04:00"
    again = twintide("config", "show", "-c", "twintide.yaml", "--json").json
    assert again | {"data_dir": "data"} == twintide("config", "show", "--json").json
