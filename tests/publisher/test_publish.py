import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.build import draft_of, publish_version
from publisher.publish import Published, publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.errors import Corrupt, Refused, Retryable
from twintide.files import exclusive_lock
from twintide.versions import GateReport, read_state, read_version_manifest, version_names


class Line:
    """A deployment that checkpoints come into, one after the other."""

    def __init__(self, deployment: Deployment, clock: HeldClock) -> None:
        self.deployment = deployment
        self.clock = clock
        self.root = deployment.versions_dir
        self._sequence = 0

    def train(self) -> str:
        self._sequence += 1
        return made.add_checkpoint(
            self.deployment,
            self._sequence,
            seed=self._sequence,
            newest_event_at=NOON + timedelta(hours=self._sequence),
        ).name

    def publish(self, checkpoint: str | None = None, *, judge: bool = True) -> Published:
        return publish(self.deployment, checkpoint=checkpoint, clock=self.clock, judge=judge)

    @property
    def live(self) -> str | None:
        return read_state(self.root).current


@pytest.fixture
def line(deployment: Deployment, clock: HeldClock) -> Line:
    return Line(deployment, clock)


def test_publish_makes_the_newest_checkpoint_live(line: Line) -> None:
    """The version says which checkpoint it is of, what it holds, and what the gate found."""
    line.train()
    newest = line.train()

    published = line.publish()

    manifest = read_version_manifest(line.root, "v000001")
    assert (published.version, published.promoted, line.live) == ("v000001", True, "v000001")
    assert (manifest.checkpoint, manifest.items, manifest.dimension) == (newest, 300, 17)
    assert manifest.index == "flat"
    assert manifest.newest_event_at == NOON + timedelta(hours=2)
    assert manifest.gate == published.gate
    load_version(line.root, "v000001")


def test_a_named_checkpoint_is_published_instead(line: Line) -> None:
    """An older one too, where nothing newer is live."""
    first = line.train()
    line.train()

    assert line.publish(first).promoted
    assert read_version_manifest(line.root, "v000001").checkpoint == first


def test_the_same_checkpoint_gives_the_same_bytes(line: Line, tmp_path: Path) -> None:
    """A version built again, in another place, differs in nothing."""
    name = line.train()
    line.publish()
    elsewhere = fill_in(line.deployment, {"folders": {"versions": str(tmp_path / "elsewhere")}})

    publish(elsewhere, checkpoint=name, clock=line.clock)

    first, second = (
        made.file_bytes(root / "v000001") for root in (line.root, elsewhere.versions_dir)
    )
    assert first == second


def test_nothing_new_is_said_and_nothing_is_built(line: Line) -> None:
    """Publishing twice is publishing once."""
    line.train()
    line.publish()
    state = read_state(line.root)

    again = line.publish()

    assert not again.promoted
    assert again.why.startswith("nothing new")
    assert again.gate.passed
    assert version_names(line.root) == ["v000001"]
    assert read_state(line.root) == state


@pytest.mark.parametrize(
    "declared",
    [{"index": "ivf"}, {"filters": ["category"]}, {"moved_beyond": 0.2}],
    ids="".join,
)
def test_what_is_declared_anew_holds_from_the_next_publish_on(
    line: Line, declared: dict[str, Any]
) -> None:
    """Though no checkpoint came since: the same one makes another version, once. What says nothing
    of what a version is makes none.
    """
    line.train()
    line.publish()
    anew = fill_in(line.deployment, {"publishing": declared})
    also = fill_in(anew, {"publishing": {"keep_versions": 3, "gate": {"min_events": 50}}})

    again, same = (publish(each, clock=line.clock) for each in (anew, also))

    assert (again.version, again.promoted) == ("v000002", True)
    found = load_version(line.root, "v000002")
    assert found.manifest.index.startswith("ivf") == ("index" in declared)
    assert list(found.attributes) == declared.get("filters", [])
    assert same.why.startswith("nothing new: version v000002")
    assert version_names(line.root) == ["v000001", "v000002"]


def test_a_version_that_an_older_program_built_is_as_declared(line: Line) -> None:
    """Its manifest does not say what was declared then, so nothing is built for that alone."""
    line.train()
    line.publish()
    own = read_version_manifest(line.root, "v000001").model_copy(update={"publishing_hash": None})
    (line.root / "v000001" / "manifest.json").write_bytes(own.to_json())

    assert line.publish().why.startswith("nothing new")


def test_without_a_checkpoint_publish_is_refused(line: Line) -> None:
    """The hint says how to make one."""
    with pytest.raises(Refused, match="no checkpoint") as error:
        line.publish()
    assert "twintide train" in error.value.hint

    line.train()
    for name in ("hourly-000009", "nonsense", "../hourly-000001"):
        with pytest.raises(Refused, match="no checkpoint"):
            line.publish(name)
    assert line.live is None


def test_a_checkpoint_without_items_is_refused(deployment: Deployment, clock: HeldClock) -> None:
    """An index of nothing would answer with nothing."""
    made.add_checkpoint(deployment, 1, items=made.item_range(0, 0))

    with pytest.raises(Refused, match="knows no item"):
        publish(deployment, clock=clock)


def test_a_damaged_checkpoint_is_not_published(line: Line) -> None:
    """Nothing is built from it, and what is live stays."""
    line.train()
    line.publish()
    damaged = line.deployment.checkpoints_dir / line.train() / "table.item.weights.npy"
    damaged.write_bytes(damaged.read_bytes()[:-4])

    with pytest.raises(Corrupt, match=r"table\.item\.weights"):
        line.publish()

    assert line.live == "v000001"
    assert version_names(line.root) == ["v000001"]


def test_a_damaged_checkpoint_stops_no_version_of_another(line: Line) -> None:
    """Neither the newest nor one that is named: only what it stands on is looked at beside it."""
    line.train()
    line.publish()
    (line.deployment.checkpoints_dir / line.train() / "manifest.json").write_bytes(b"{")
    named, newest = line.train(), line.train()

    first, second = line.publish(named), line.publish()

    assert (first.promoted, second.promoted) == (True, True)
    assert read_version_manifest(line.root, second.version).checkpoint == newest


@pytest.mark.promise("P6")
def test_on_hold_a_version_is_built_and_kept_and_release_lets_the_next_publish_promote_it(
    line: Line,
) -> None:
    """After a rollback no publish changes what is live until release; then the newest one does,
    without being built again.
    """
    for _ in range(2):
        line.train()
        line.publish()
    registry.rollback(line.root, reason="odd", clock=line.clock)

    for number in (3, 4, 5):
        line.train()
        held = line.publish()
        assert not held.promoted
        assert held.gate.passed
        assert "on hold" in held.why
        assert held.version == f"v00000{number}"
        assert line.live == "v000001"
    registry.release(line.root, clock=line.clock)
    released = line.publish()

    assert (released.version, released.promoted, line.live) == ("v000005", True, "v000005")
    assert len(version_names(line.root)) == 5


@pytest.mark.promise("P6")
def test_a_version_that_was_rolled_back_from_does_not_come_back_by_itself(line: Line) -> None:
    """Not even after release; only when an operator names its checkpoint."""
    line.train()
    line.publish()
    bad = line.train()
    line.publish()
    registry.rollback(line.root, reason="odd", clock=line.clock)
    registry.release(line.root, clock=line.clock)

    assert "rolled back" in line.publish().why
    assert line.live == "v000001"
    assert line.publish(bad).promoted
    assert line.live == "v000002"


def test_a_version_whose_publisher_died_before_promoting_is_taken_up(line: Line) -> None:
    """It is promoted as it is, not built again."""
    name = line.train()
    draft = draft_of(
        line.deployment.checkpoints_dir / name,
        line.deployment.publishing,
        vectors_dir=line.deployment.vectors_dir,
    )
    publish_version(line.root, "v000001", draft, gate=GateReport(passed=True))

    assert line.publish().promoted
    assert version_names(line.root) == ["v000001"]


def test_a_damaged_version_is_built_anew_under_the_next_number(line: Line) -> None:
    """A version that lost a byte before it was promoted does not stand in the way."""
    line.train()
    registry.hold(line.root, reason="wait", clock=line.clock)
    line.publish()
    registry.release(line.root, clock=line.clock)
    index = line.root / "v000001" / "index.faiss"
    index.write_bytes(index.read_bytes()[:-1])

    published = line.publish()

    assert (published.version, published.promoted) == ("v000002", True)


def test_a_refused_version_is_kept_with_its_report_and_never_promoted(line: Line) -> None:
    """The next publish says so again under the same number; --no-gate is the operator's word."""
    line.train()
    line.publish()
    half = made.add_checkpoint(line.deployment, 9, items=made.item_range(1000, 100)).name

    refused, again = line.publish(), line.publish()

    assert (refused.version, refused.promoted, refused.gate.passed) == ("v000002", False, False)
    assert read_version_manifest(line.root, "v000002").gate == refused.gate
    assert again == refused
    assert line.live == "v000001"
    forced = line.publish(half, judge=False)
    assert (forced.version, forced.promoted) == ("v000003", True)
    assert forced.gate.notes == ("not judged: the operator asked for it",)


@pytest.mark.promise("P7")
def test_what_was_refused_is_judged_again_when_its_opponent_is_gone(line: Line) -> None:
    """Half the items of the live version are too few, until that was rolled back from."""
    few = made.add_checkpoint(line.deployment, 1, items=made.item_range(1000, 100)).name
    line.publish()
    made.add_checkpoint(line.deployment, 2, items=made.item_range(1000, 300))
    line.publish()
    again = made.add_checkpoint(line.deployment, 3, items=made.item_range(1000, 120)).name
    refused = line.publish()
    assert (refused.version, refused.gate.passed) == ("v000003", False)
    registry.rollback(line.root, reason="odd items", clock=line.clock)
    registry.release(line.root, clock=line.clock)

    judged = line.publish()

    assert (judged.version, judged.promoted) == ("v000004", True)
    manifest = read_version_manifest(line.root, "v000004")
    assert (manifest.checkpoint, manifest.gate.live) == (again, "v000001")
    assert read_version_manifest(line.root, "v000001").checkpoint == few


@pytest.mark.promise("P7")
def test_what_was_refused_is_judged_again_on_new_clicks(line: Line) -> None:
    """The same checkpoint, the same live version, other clicks: another report."""
    made.add_checkpoint(line.deployment, 1, position=0)
    line.publish()
    live = load_version(line.root, "v000001")
    made.add_slice(line.deployment, 1, made.clicks_liked_by(live, line.deployment, 400), first=0)
    made.add_checkpoint(line.deployment, 2, seed=9)
    first, same = line.publish(), line.publish()
    liked = load_version(line.root, first.version)
    clicks = made.clicks_liked_by(liked, line.deployment, 4_000, seed=3)
    made.add_slice(line.deployment, 2, clicks, first=400)

    second = line.publish()

    assert (first.version, first.gate.passed) == ("v000002", False)
    assert same == first
    assert (second.version, second.promoted, second.gate.events) == ("v000003", True, 4_400)


@pytest.mark.promise("P6")
def test_what_was_rolled_back_from_is_not_built_again_to_come_back(line: Line) -> None:
    """Though it passed against another version than the one that is live now."""
    for _ in range(3):
        line.train()
        line.publish()
    registry.rollback(line.root, to="v000001", reason="odd", clock=line.clock)
    registry.release(line.root, clock=line.clock)

    assert "rolled back" in line.publish().why
    assert line.live == "v000001"


@pytest.mark.promise("P7")
def test_going_back_on_purpose_is_not_held_against_a_version(line: Line) -> None:
    """A rewound checkpoint may have older clicks than the live version; once it is live itself,
    what is trained on it may not.
    """
    for _ in range(3):
        line.train()
        line.publish()
    rewound = made.add_checkpoint(
        line.deployment, 4, parent="hourly-000001", newest_event_at=NOON + timedelta(hours=1)
    ).name

    back = line.publish()

    assert (back.promoted, back.gate.passed) == (True, True)
    assert "training was rewound to hourly-000001" in "; ".join(back.gate.notes)
    made.add_checkpoint(line.deployment, 5, parent=rewound, rows=1, newest_event_at=NOON)
    older = line.publish()
    assert not older.promoted
    assert "its newest click is of" in older.why


def test_a_lineage_that_goes_in_circles_has_an_end(line: Line) -> None:
    """A damaged manifest may name itself as what it began with."""
    line.train()
    line.publish()
    made.add_checkpoint(
        line.deployment,
        4,
        parent="hourly-000004",
        rows=1,
        newest_event_at=NOON + timedelta(hours=1),
    )

    assert line.publish().promoted


@pytest.mark.promise("S13")
def test_a_click_of_the_future_in_the_live_version_stops_no_later_one(line: Line) -> None:
    """Its newest click is of 2099 by a wrong clock: nothing could be newer for decades."""
    made.add_checkpoint(line.deployment, 1, newest_event_at=datetime(2099, 1, 1, tzinfo=UTC))
    line.publish()
    line.clock.advance(3600)
    made.add_checkpoint(line.deployment, 2, seed=2)

    published = line.publish()

    assert published.promoted
    assert "lies in the future" in "; ".join(published.gate.notes)


def test_numbers_are_not_used_again(line: Line) -> None:
    """Not those of versions that were live and are gone, nor those on the disk."""
    for _ in range(3):
        line.train()
        line.publish()
    registry.rollback(line.root, to="v000001", reason="odd", clock=line.clock)
    registry.release(line.root, clock=line.clock)
    for name in ("v000002", "v000003"):
        shutil.rmtree(line.root / name)

    line.train()

    assert line.publish().version == "v000004"


def test_a_damaged_live_version_does_not_stop_the_next_one(line: Line) -> None:
    """The gate says that it could not compare."""
    line.train()
    line.publish()
    (line.root / "v000001" / "index.faiss").unlink()
    line.train()

    published = line.publish()

    assert published.promoted
    assert "the live version v000001 cannot be read" in published.gate.notes[0]


def test_two_publishes_never_run_at_once(line: Line) -> None:
    """The second one is told to try later, and changes nothing."""
    line.train()
    with (
        exclusive_lock(line.root / registry.PUBLISHER_LOCK, who="another"),
        pytest.raises(Retryable, match="publish cannot run now"),
    ):
        line.publish()

    assert version_names(line.root) == []


def test_leftovers_of_a_killed_publish_are_swept(line: Line) -> None:
    """Hidden folders and files, young or old."""
    line.train()
    leftover = line.root / ".v000001.0123456789ab.tmp"
    leftover.mkdir(parents=True)
    (leftover / "index.faiss").write_bytes(b"half")
    (line.root / ".state.json.0123456789ab.tmp").write_bytes(b"half")

    line.publish()

    assert sorted(path.name for path in line.root.iterdir()) == [
        ".publisher.lock",
        ".state.lock",
        "state.json",
        "v000001",
    ]
