import json
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from publisher import registry, samples
from publisher.audit import diff, verify
from publisher.publish import publish
from publisher.reader import load_version
from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused, Retryable
from twintide.overview.versions import list_versions, show
from twintide.versions import STATE, read_state

ROOT = Path(__file__).parents[2]


def publisher(
    data_dir: Path, *arguments: str, blocks: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; `blocks` of 512 bytes is the most that a file may then have."""
    config = data_dir.parent / "twintide.yaml"
    config.write_text(json.dumps(made.configuration(data_dir)))
    verb, *rest = arguments
    limit = f"ulimit -f {blocks}; " if blocks else ""
    command = [
        sys.executable,
        "-X",
        "importtime",
        "-m",
        "publisher",
        verb,
        "-c",
        str(config),
        *rest,
    ]
    return subprocess.run(
        ["sh", "-c", limit + 'exec "$@"', "sh", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def said(ended: subprocess.CompletedProcess[str]) -> str:
    """Standard error without the list of imports."""
    lines = ended.stderr.splitlines()
    return "\n".join(line for line in lines if not line.startswith("import time:"))


@pytest.mark.promise("P6")
def test_a_rollback_with_nothing_to_go_back_to_is_refused_without_a_traceback(
    with_versions: Callable[[int], Deployment],
) -> None:
    """Exit code 2, what is wrong, and what to type next."""
    ended = publisher(with_versions(1).data_dir, "rollback", "--reason", "odd")

    assert ended.returncode == 2
    assert said(ended).splitlines()[0].startswith("error: there is nothing to go back to")
    assert "--to VERSION" in said(ended)


@pytest.mark.promise("P5")
def test_a_rollback_loads_neither_torch_nor_faiss(
    with_versions: Callable[[int], Deployment],
) -> None:
    """The pointer moves within a second, since nothing heavy is in the way."""
    ended = publisher(with_versions(3).data_dir, "rollback", "--reason", "odd items")

    assert ended.returncode == 0
    assert json.loads(ended.stdout)["current"] == "v000002"
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert not imported & {"torch", "faiss", "kafka", "fastapi"}


def test_the_list_says_what_each_version_is(
    with_versions: Callable[[int], Deployment], clock: HeldClock
) -> None:
    """Live, previous, rolled back, refused, damaged."""
    deployment = with_versions(4)
    registry.rollback(deployment.versions_dir, reason="odd", clock=clock)
    registry.release(deployment.versions_dir, clock=clock)
    made.add_checkpoint(deployment, 5, items=made.item_range(1000, 20))
    publish(deployment, clock=clock)
    (deployment.versions_dir / "v000001" / "manifest.json").write_bytes(b"{}")

    rows = list_versions(deployment)

    assert [(row.name, row.state, row.items) for row in rows] == [
        ("v000001", "damaged", 0),
        ("v000002", "", 300),
        ("v000003", "live", 300),
        ("v000004", "rolled back", 300),
        ("v000005", "refused", 20),
    ]
    assert show(deployment, "v000003").checkpoint == "hourly-000003"


def test_what_comes_and_goes_while_versions_are_listed_hides_no_other(
    with_versions: Callable[[int], Deployment],
) -> None:
    """Versions are taken away at any moment; a file that is called like a version is none."""
    deployment = with_versions(3)
    root = deployment.versions_dir
    (root / "v000900").write_text("a note that somebody left")
    stopping = threading.Event()

    def come_and_go() -> None:
        while not stopping.is_set():
            (root / "v000002").rename(root / ".gone")
            (root / ".gone").rename(root / "v000002")

    with ThreadPoolExecutor(1) as other:
        other.submit(come_and_go)
        try:
            for _ in range(300):
                seen = {row.name: row.state for row in list_versions(deployment)}
                assert seen["v000001"] == ""
                assert seen["v000003"] == "live"
                assert set(seen) <= {"v000001", "v000002", "v000003"}
        finally:
            stopping.set()


def test_a_file_that_is_called_like_a_version_takes_its_number(
    with_versions: Callable[[int], Deployment], clock: HeldClock
) -> None:
    """Publishing goes on behind it; behind the last number there is, it is refused."""
    deployment = with_versions(1)
    (deployment.versions_dir / "v000900").write_text("a note that somebody left")
    made.add_checkpoint(deployment, 2)
    assert publish(deployment, clock=clock).version == "v000901"

    (deployment.versions_dir / "v999999").write_text("another one")
    made.add_checkpoint(deployment, 3)
    with pytest.raises(Refused, match="no number after v999999"):
        publish(deployment, clock=clock)


def test_a_damaged_state_is_said_with_the_way_out(
    with_versions: Callable[[int], Deployment], clock: HeldClock
) -> None:
    """The hint was followed: the file moved away, a rollback names what is live."""
    root = with_versions(2).versions_dir
    (root / STATE).write_bytes(b'{"current": "../v000001"}')
    with pytest.raises(Corrupt) as error:
        registry.rollback(root, to="v000001", reason="odd", clock=clock)
    assert "twintide rollback --to VERSION" in error.value.hint

    (root / STATE).unlink()

    assert registry.rollback(root, to="v000001", reason="odd", clock=clock).current == "v000001"


@pytest.mark.parametrize("reason", ["", "  ", "\t", "two\nlines", "\udcff", "x" * 1_001])
def test_a_reason_that_says_nothing_is_refused(
    with_versions: Callable[[int], Deployment], clock: HeldClock, reason: str
) -> None:
    """Empty, blank, what is no text, and what fills the file: nothing changes."""
    root = with_versions(2).versions_dir
    before = (root / STATE).read_bytes()

    for deed in (registry.rollback, registry.hold):
        with pytest.raises(Refused, match="reason"):
            deed(root, reason=reason, clock=clock)

    assert (root / STATE).read_bytes() == before


@pytest.mark.promise("P1")
@pytest.mark.long
def test_on_a_full_disk_nothing_half_is_left_and_the_next_publish_goes_on(
    with_versions: Callable[[int], Deployment],
) -> None:
    """A real process that may write 4 KB: exit code 1, the folder and what to do, what is live
    stays; with room again the same command promotes.
    """
    deployment = with_versions(1)
    made.add_checkpoint(deployment, 2, seed=2)
    before = sorted(path.name for path in deployment.versions_dir.iterdir())

    full = publisher(deployment.data_dir, "publish", blocks=8)

    assert full.returncode == 1
    assert "changed nothing" in said(full)
    assert str(deployment.versions_dir) in said(full)
    assert "Traceback" not in full.stderr
    assert sorted(path.name for path in deployment.versions_dir.iterdir()) == before
    assert publisher(deployment.data_dir, "publish").returncode == 0
    assert read_state(deployment.versions_dir).current == "v000002"


def test_a_disk_that_refuses_the_pointer_moves_nothing(
    with_versions: Callable[[int], Deployment], clock: HeldClock
) -> None:
    """Rollback, hold and release: Retryable with the folder's name, and the state as it was."""
    root = with_versions(2).versions_dir
    root.rename(root.with_name("elsewhere"))
    root.write_text("a file where the folder was")

    for deed in (registry.rollback, registry.hold, registry.release):
        with pytest.raises(Retryable, match=str(root)):
            deed(root, reason="odd", clock=clock)


def test_verify_names_what_is_wrong(with_versions: Callable[[int], Deployment]) -> None:
    """Every version, or one; None is sound."""
    deployment = with_versions(3)
    (deployment.versions_dir / "v000002" / "index.faiss").write_bytes(b"")

    found = verify(deployment)

    assert (found["v000001"], found["v000003"]) == (None, None)
    assert "index.faiss" in str(found["v000002"])
    assert verify(deployment, "v000001") == {"v000001": None}
    with pytest.raises(Refused):
        verify(deployment, "v000009")


def test_verify_without_any_version_is_refused(deployment: Deployment) -> None:
    """There is nothing that could be sound."""
    with pytest.raises(Refused, match="there is no version"):
        verify(deployment)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0, 0, 300, 1.0)),
        ({"items": made.item_range(1100, 250)}, (50, 100, 200, 1.0)),
        ({"items": made.item_range(9000, 300)}, (300, 300, 0, None)),
    ],
)
def test_a_difference_counts_items_and_how_far_vectors_moved(
    deployment: Deployment,
    clock: HeldClock,
    changes: dict[str, Any],
    expected: tuple[int, int, int, float | None],
) -> None:
    """Gained, lost, in both; cosine 1 where no vector moved."""
    for sequence, change in ((1, {}), (2, changes)):
        made.add_checkpoint(deployment, sequence, **change)
        publish(deployment, clock=clock, judge=False)

    found = diff(deployment, "v000001", "v000002")

    gained, lost, both, cosine = expected
    assert (found.items_gained, found.items_lost, found.items_in_both) == (gained, lost, both)
    assert (found.mean_cosine is None) == (cosine is None)
    if cosine is not None:
        assert found.mean_cosine == pytest.approx(cosine, abs=0.02)


def test_a_difference_names_what_came_went_and_moved_and_compares_answers(
    deployment: Deployment, clock: HeldClock
) -> None:
    """The overlap is what a plain loop over both versions' answers counts."""
    made.add_checkpoint(deployment, 1)
    made.add_checkpoint(deployment, 2, items=made.item_range(1100, 250))
    for sequence in (1, 2):
        publish(deployment, checkpoint=f"hourly-{sequence:06d}", clock=clock, judge=False)

    found = diff(deployment, "v000001", "v000002")
    old, new = (load_version(deployment.versions_dir, name) for name in (found.before, found.after))

    assert found.lost == list(range(1000, 1010))
    assert found.gained == list(range(1300, 1310))
    assert [each.cosine for each in found.moved] == sorted(each.cosine for each in found.moved)
    assert all(1100 <= each.item_id < 1300 for each in found.moved if isinstance(each.item_id, int))
    encoded = samples.queries(new.model, new.manifest.events, new.memories)
    shares = []
    for row in range(samples.COUNT):
        one = {name: feature.take(np.array([row])) for name, feature in encoded.items()}
        before, after = (
            set(version.item_keys[version.search(one, 100)[1][0]].tolist())
            for version in (old, new)
        )
        shares.append(len(before & after) / 100)
    assert found.overlap == pytest.approx(np.mean(shares), abs=0.001)


def test_what_the_gate_found_is_an_object_in_the_list(
    with_versions: Callable[[int], Deployment],
) -> None:
    """`versions` in JSON, for scripts: whether each passed, and the reasons."""
    ended = publisher(with_versions(1).data_dir, "versions")

    (row,) = json.loads(ended.stdout)
    assert row["gate"]["passed"] is True
    assert row["gate"]["reasons"] == []
