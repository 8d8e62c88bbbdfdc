import random
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest

from publisher import gc, registry
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from tests.publisher.checkpoint_fixture import NOON
from twintide.checkpoints import CheckpointManifest, checkpoint_name, list_checkpoints
from twintide.clock import HeldClock
from twintide.config import Deployment, fill_in
from twintide.errors import Refused, Retryable
from twintide.files import exclusive_lock, remove_folder
from twintide.versions import ServingState, read_state, version_names

DEPLOYMENT = made.deployment_at(Path("nowhere"))


def checkpoint(kind: str, sequence: int, base: str | None) -> CheckpointManifest:
    return made.plain_manifest(
        DEPLOYMENT,
        checkpoint_name(kind, sequence),  # type: ignore[arg-type]
        kind=kind,
        base=base,
        day=date(2022, 5, 1),
        position={0: sequence},
        newest_event_at=NOON,
    )


class World:
    """Versions, checkpoints and a serving state that grow at random."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.checkpoints: list[CheckpointManifest] = []
        self.versions: dict[str, str] = {}
        self.state = ServingState()
        self.built = 0

    def step(self) -> None:
        match self.rng.randrange(10):
            case 0:
                self._train("nightly")
            case 1 | 2 | 3:
                self._train("hourly")
            case 4 | 5:
                self._publish()
            case 6:
                self._try(
                    lambda: registry.rolled_back(self.state, self._target(), at=NOON, reason="")
                )
            case 7:
                self._try(lambda: registry.pinned(self.state, self._any(), at=NOON, reason=""))
            case 8:
                name = self.rng.choice([*self.state.pins, "none"])
                self._try(lambda: registry.unpinned(self.state, name, at=NOON))
            case _:
                self._try(lambda: registry.released(self.state, at=NOON))

    def _any(self) -> str:
        if not self.versions:
            raise Refused("there is none")
        return self.rng.choice(sorted(self.versions))

    def _train(self, kind: str) -> None:
        sequence = self.checkpoints[-1].sequence + 1 if self.checkpoints else 1
        bases = [one.name for one in self.checkpoints if one.kind == "nightly"]
        name = checkpoint_name(kind, sequence)  # type: ignore[arg-type]
        base = name if kind == "nightly" else (bases[-1] if bases else None)
        self.checkpoints.append(checkpoint(kind, sequence, base))

    def _publish(self) -> None:
        if self.checkpoints:
            self.built += 1
            self.versions[f"v{self.built:06d}"] = self.checkpoints[-1].name
            self._try(lambda: registry.promoted(self.state, f"v{self.built:06d}", at=NOON))

    def _target(self) -> str | None:
        return registry.target_among(self.versions, self.state)

    def _try(self, step: object) -> None:
        with suppress(Refused):
            self.state = step()  # type: ignore[operator]


def must_stay(world: World, keep: gc.Keep) -> tuple[set[str], set[str]]:
    """The rules, said once more and plainly."""
    versions = {
        name
        for name in (
            world.state.current,
            world.state.previous,
            below_the_live_one(world),
        )
        if name in world.versions
    }
    pile: list[str] = []
    for name in reversed(registry.live_pile(world.state)):
        if name in world.versions and name not in pile:
            pile.append(name)
    versions |= set(pile[: keep.versions])
    versions |= set([name for name in sorted(world.versions) if name not in pile][-3:])
    versions |= set(world.state.pins)
    served = {
        world.versions[name]
        for name in (world.state.current, world.state.previous)
        if name in world.versions
    }
    checkpoints = set(served)
    for kind, count in (("hourly", keep.hourly), ("nightly", keep.nightly)):
        for one in [one for one in world.checkpoints if one.kind == kind][-count:]:
            checkpoints |= {one.name} | ({one.base} if one.base else set())
    if world.checkpoints:
        checkpoints.add(world.checkpoints[-1].name)
    return versions, checkpoints


def below_the_live_one(world: World) -> str | None:
    """What was live before, the last of it that is there."""
    there = [name for name in registry.live_pile(world.state)[:-1] if name in world.versions]
    return there[-1] if there else None


@pytest.mark.promise("P8")
@pytest.mark.parametrize("seed", range(20))
def test_gc_removes_nothing_that_is_needed_and_all_that_is_not(seed: int) -> None:
    """Over random histories of training, publishing, going back, and gc in between."""
    world, keep = World(seed), gc.Keep(versions=3, hourly=4, nightly=2)
    removed = 0
    for _ in range(150):
        world.step()
        used = gc.in_use(world.state, world.versions) & set(world.versions)
        plan = gc.plan(
            sorted(world.versions),
            world.checkpoints,
            world.state,
            served_from={world.versions[name] for name in used},
            servable=world.versions,
            keep=keep,
        )
        versions, checkpoints = must_stay(world, keep)
        held = {world.versions[name] for name in used}
        assert not versions & set(plan.versions)
        assert not checkpoints & set(plan.checkpoints)
        assert set(world.versions) - set(plan.versions) <= versions
        assert {c.name for c in world.checkpoints} - set(plan.checkpoints) <= checkpoints | held
        if world.rng.random() < 0.3:
            removed += len(plan.versions) + len(plan.checkpoints)
            world.versions = {n: c for n, c in world.versions.items() if n not in plan.versions}
            world.checkpoints = [c for c in world.checkpoints if c.name not in plan.checkpoints]
    assert removed > 20


@pytest.fixture
def four_versions(with_versions: Callable[[int], Deployment]) -> Deployment:
    keep_little = {
        "publishing": {"keep_versions": 1},
        "training": {"keep_hourly": 1, "keep_nightly": 1},
    }
    return fill_in(with_versions(4), keep_little)


def test_gc_removes_folders_and_a_dry_run_only_says_which(
    four_versions: Deployment, clock: HeldClock
) -> None:
    """After a rollback: the live one, the one that was left, and the next to go back to stay."""
    root = four_versions.versions_dir
    registry.rollback(root, reason="odd", clock=clock)
    said = gc.run(four_versions, dry_run=True)

    assert said == gc.Plan(versions=("v000001",), checkpoints=("hourly-000001",))
    assert len(version_names(root)) == 4
    assert gc.run(four_versions) == said
    assert version_names(root) == ["v000002", "v000003", "v000004"]
    kept = [one.name for one in list_checkpoints(four_versions.checkpoints_dir)]
    assert kept == ["hourly-000002", "hourly-000003", "hourly-000004"]
    assert gc.run(four_versions) == gc.Plan((), ())


@pytest.mark.long
@pytest.mark.promise("P8")
def test_what_cannot_be_served_pushes_out_nothing_that_can(
    with_versions: Callable[[int], Deployment], clock: HeldClock
) -> None:
    """Held and refused versions come and go; those that one can go back to stay, as many as the
    configuration says, and a rollback finds them.
    """
    deployment = fill_in(with_versions(3), {"publishing": {"keep_versions": 3}})
    root = deployment.versions_dir
    registry.hold(root, reason="a quiet week", clock=clock)
    for sequence in range(4, 12):
        few = made.item_range(1000, 20 if sequence % 2 else 300)
        made.add_checkpoint(deployment, sequence, items=few, seed=sequence)
        assert not publish(deployment, clock=clock).promoted
        gc.run(deployment)

    assert version_names(root) == [f"v{n:06d}" for n in (1, 2, 3, 9, 10, 11)]
    registry.rollback(root, reason="odd", clock=clock)
    assert registry.rollback(root, reason="odd too", clock=clock).current == "v000001"


@pytest.mark.parametrize("damaged", ["v000004/manifest.json", "v000001/manifest.json"])
def test_a_damaged_version_keeps_no_other_from_going(
    four_versions: Deployment, damaged: str
) -> None:
    """The live one or another: gc goes on, and where it cannot tell which checkpoint is served it
    keeps all of them.
    """
    root = four_versions.versions_dir
    (root / damaged).write_bytes(b"{}")

    gone = gc.run(four_versions)

    assert "v000002" in gone.versions
    assert (gone.checkpoints == ()) == damaged.startswith("v000004")
    assert "v000004" in version_names(root)


def test_a_damaged_checkpoint_keeps_no_version_from_going(four_versions: Deployment) -> None:
    """What training stands on cannot be told then, so every checkpoint stays."""
    (four_versions.checkpoints_dir / "hourly-000002" / "manifest.json").write_bytes(b"{")

    gone = gc.run(four_versions)

    assert gone.versions
    assert gone.checkpoints == ()


@pytest.mark.promise("P8")
def test_gc_finishes_what_a_killed_gc_began(four_versions: Deployment) -> None:
    """A folder that was hidden and not removed yet goes at the next run."""
    root = four_versions.versions_dir
    (root / "v000001").rename(root / ".v000001.0123456789ab.tmp")

    gc.run(four_versions)

    assert not list(root.glob(".*.tmp"))


@pytest.mark.promise("P8")
def test_a_rollback_waits_for_no_deletion(four_versions: Deployment) -> None:
    """While folders go from the disk, also what a killed run left, the state is free."""
    root = four_versions.versions_dir
    (root / "v000001").rename(root / ".v000001.0123456789ab.tmp")
    free = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "shutil.rmtree" and str(arguments[0]).startswith(str(root)):
            with exclusive_lock(root / registry.LOCK, who="a rollback"):
                free.append(Path(str(arguments[0])).name.split(".")[1])

    sys.addaudithook(watch)
    keep_one = {"publishing": {"keep_versions": 1}}
    gone = gc.run(fill_in(four_versions, keep_one))

    assert free == [*gone.versions, "v000001"]


@pytest.mark.promise("P8")
def test_a_rollback_passes_over_what_gc_took_and_gc_keeps_where_it_leads(
    four_versions: Deployment, clock: HeldClock
) -> None:
    """Of four versions the second went; back from the third leads to the first, and that stays also
    when it is not pinned any more. Where nothing is left, that is said and nothing changes.
    """
    root = four_versions.versions_dir
    registry.pin(root, "v000001", reason="before the new tower", clock=clock)
    assert gc.run(four_versions).versions == ("v000002",)
    registry.rollback(root, reason="odd", clock=clock)
    registry.unpin(root, "v000001", clock=clock)

    assert gc.run(four_versions).versions == ()
    assert registry.rollback(root, reason="odd too", clock=clock).current == "v000001"

    registry.rollback(root, to="v000003", reason="no", clock=clock)
    remove_folder(root / "v000001")
    with pytest.raises(Refused, match="v000001, which was live before, is gone"):
        registry.rollback(root, reason="odd again", clock=clock)
    assert read_state(root).current == "v000003"


def test_gc_does_not_run_beside_a_publish(four_versions: Deployment) -> None:
    """It is told to try later."""
    with (
        exclusive_lock(four_versions.versions_dir / registry.PUBLISHER_LOCK, who="a publish"),
        pytest.raises(Retryable, match="gc cannot run now"),
    ):
        gc.run(four_versions)


@pytest.mark.promise("P8")
def test_a_pinned_version_stays_until_it_is_unpinned(
    four_versions: Deployment, clock: HeldClock
) -> None:
    """Whatever else gc keeps; one that is not there cannot be pinned, nor unpinned twice."""
    root = four_versions.versions_dir
    registry.pin(root, "v000001", reason="before the new tower", clock=clock)
    gc.run(four_versions)
    assert "v000001" in version_names(root)

    registry.unpin(root, "v000001", clock=clock)

    assert "v000001" in gc.run(four_versions).versions
    with pytest.raises(Refused, match="no version"):
        registry.pin(root, "v000001", reason="too late", clock=clock)
    with pytest.raises(Refused, match="not pinned"):
        registry.unpin(root, "v000001", clock=clock)


def test_versions_take_no_more_bytes_than_declared() -> None:
    """The oldest go first; a file that several share counts once, and what must stay stays."""
    state = ServingState()
    for number in range(1, 7):
        state = registry.promoted(state, f"v{number:06d}", at=NOON)
    state = registry.pinned(state, "v000001", at=NOON, reason="")
    names = [f"v{number:06d}" for number in range(1, 7)]
    base = {(1, 0): 100}
    files = {name: base | {(1, number): 10} for number, name in enumerate(names, start=1)}

    def gone(most_bytes: int | None) -> tuple[str, ...]:
        keep = gc.Keep(versions=9, hourly=1, nightly=1, bytes=most_bytes)
        found = gc.plan(names, [], state, served_from=(), servable=names, keep=keep, files=files)
        return found.versions

    assert gone(None) == ()
    assert gone(160) == ()
    assert gone(159) == ("v000002",)
    assert gone(140) == ("v000002", "v000003")
    assert gone(1) == ("v000002", "v000003", "v000004")


def test_what_a_rollback_can_go_back_to_goes_last_where_bytes_are_short() -> None:
    """Newer versions that the gate refused, kept for a look, go before any of these."""
    names = [f"v{number:06d}" for number in range(1, 7)]
    state = ServingState()
    for name in names[:4]:
        state = registry.promoted(state, name, at=NOON)
    files = {name: {(1, number): 10} for number, name in enumerate(names)}

    def gone(most_bytes: int) -> tuple[str, ...]:
        keep = gc.Keep(versions=9, hourly=1, nightly=1, bytes=most_bytes)
        servable, none = names[:4], ()
        return gc.plan(
            names, [], state, served_from=none, servable=servable, keep=keep, files=files
        ).versions

    assert gone(50) == ("v000005",)
    assert gone(40) == ("v000005", "v000006")
    assert gone(30) == ("v000001", "v000005", "v000006")
