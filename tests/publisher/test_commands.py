import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from publisher import registry
from publisher.audit import diff, verify
from publisher.overview import list_versions, show
from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from twintide.clock import HeldClock
from twintide.config import Deployment
from twintide.errors import Refused

ROOT = Path(__file__).parents[2]


def publisher(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = data_dir.parent / "twintide.yaml"
    config.write_text(json.dumps(made.configuration(data_dir)))
    verb, *rest = arguments
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "publisher", verb, "-c", str(config), *rest],
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
    assert said(ended).splitlines()[0].startswith("there is nothing to go back to")
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
