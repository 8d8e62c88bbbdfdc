"""What evaluate judges is what a deployment gets: statistics as old as its pace lets them be."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.lanes import Scoring, lanes_of
from evaluation.policies import parse_policy
from tests.evaluation.world import SPAN
from twintide import config

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
USERS = {"kind": "user_statistics", "name": "active"}


@pytest.mark.parametrize(
    ("policy", "every_minutes", "statistics_every_minutes"),
    [
        ("nightly+hourly", 60, None),
        ("10min", 10, None),
        ("nightly+hourly+statistics-10min", 60, 10),
    ],
)
def test_a_policy_learns_by_statistics_as_old_as_a_deployment_of_its_pace_has(
    policy: str, every_minutes: int, statistics_every_minutes: int | None, tmp_path: Path
) -> None:
    """Of users as of items, and also where a day does not begin at a full hour."""
    values: dict[str, Any] = config.values_in(QUICKSTART) | {"data_dir": str(tmp_path)}
    values["model"]["query"].append(USERS)
    values["training"] = {"day_starts_at": "04:30"}
    declared = config.parse(values, name="any")
    values["training"] |= {"hourly": {"every_minutes": every_minutes}}
    values["publishing"] = {"statistics_every_minutes": statistics_every_minutes}

    policies = [parse_policy(policy)]
    (lane,) = lanes_of(declared, policies, Scoring(SPAN), folder=tmp_path, slices=tmp_path)

    assert lane.shared.model == config.parse(values, name="its pace").model
