from pathlib import Path

import pytest

from publisher.build import draft_of, publish_version
from tests.publisher import checkpoint_fixture as made
from twintide.config import ShardsConfig
from twintide.config.training import HourlyConfig
from twintide.holdback import minutes_held_back, said_by_the_gate
from twintide.versions import GateReport


@pytest.mark.parametrize(
    ("declared", "said", "shard", "expected"),
    [
        (7, 25, 1, 7),
        (0, 25, 1, 0),
        ("auto", None, 1, 2),
        ("auto", 1, 1, 2),
        ("auto", 9, 1, 9),
        ("auto", 9, 5, 10),
        ("auto", 400, 1, 30),
        ("auto", None, 20, 20),
    ],
)
def test_clicks_are_held_back_for_as_long_as_the_gate_needs(
    declared: int, said: int | None, shard: int, expected: int
) -> None:
    """Where nothing is declared: in whole shards, and for no more than half an hour of an hour."""
    hourly = HourlyConfig.model_validate({"holdback_minutes": declared})

    assert minutes_held_back(hourly, ShardsConfig(minutes=shard), said) == expected


def test_the_newest_version_that_was_judged_beside_another_says_how_long(tmp_path: Path) -> None:
    """What was not judged says nothing, nor does a damaged one."""
    deployment = made.deployment_at(tmp_path)
    checkpoint = made.add_checkpoint(deployment, 1)
    root = deployment.versions_dir
    draft = draft_of(
        deployment.checkpoints_dir / checkpoint.name,
        deployment.publishing,
        vectors_dir=deployment.vectors_dir,
    )
    assert said_by_the_gate(root) is None
    for number, minutes in ((1, 5), (2, 12), (3, None), (4, 7)):
        report = GateReport(passed=True, holdback_minutes=minutes)
        publish_version(root, f"v{number:06d}", draft, gate=report)

    assert said_by_the_gate(root) == 7
    (root / "v000004" / "manifest.json").write_text("{}")
    assert said_by_the_gate(root) == 12
    (root / "v000002" / "manifest.json").unlink()
    assert said_by_the_gate(root) == 5
