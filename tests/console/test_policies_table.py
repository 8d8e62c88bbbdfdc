"""The table of an evaluation's policies, in any terminal."""

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from console.policies_table import ablation_table, policies_table


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_every_width_shows_every_name_and_number(columns: int) -> None:
    """Sorted, the best first and marked; nothing is cut off, whatever the terminal."""
    policies = [row("popular-all-time", 0.25), row("nightly+hourly", 0.5), row("co-visitation", 0)]
    made = policies_table({"policies": policies})
    terminal = Console(width=columns, file=StringIO(), record=True)

    terminal.print(made)

    said = terminal.export_text()
    names = ("nightly+hourly *", "popular-all-time", "co-visitation")
    places = [said.index(name) for name in names]
    assert places == sorted(places)
    for recall in ("0.500", "0.501", "0.502", "0.250", "0.251", "0.252", "0.000"):
        assert recall in said
    for word in ("recall@10", "@50", "@100", "coverage", "new users@10", "train s", "s an hour"):
        assert word in said
    assert "…" not in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= columns


def row(name: str, recall: float) -> dict[str, Any]:
    kind = "baseline" if name.startswith("popular") else "model"
    made = {"name": name, "kind": kind, "recall@10": recall, "positives": 10_000}
    recalls = {"recall@50": recall + 0.001, "recall@100": recall + 0.002}
    return (
        made
        | recalls
        | {"groups": {}, "coverage@10": 0.9, "train_seconds": 1234.5}
        | {
            "interval@10": [recall, recall],
            "cost_seconds_per_hour": 1.5,
        }
    )


@pytest.mark.parametrize("columns", [40, 80, 120])
def test_every_ingredient_is_beside_the_whole(columns: int) -> None:
    """What it finds, how much less or more, and how sure that is; nothing is cut off."""
    difference = {f"recall@{k}": -0.012 for k in (10, 100)} | {
        f"interval@{k}": [-0.02, -0.004] for k in (10, 100)
    }
    each = {"name": "without last click", "recall@10": 0.4, "recall@100": 0.7}
    rows = [each | {"difference": difference}, each | {"name": "with pool", "difference": {}}]
    terminal = Console(width=columns, file=StringIO(), record=True)

    terminal.print(ablation_table({"ablation": {"policy": "nightly+hourly", "ingredients": rows}}))

    said = terminal.export_text()
    for word in ("without last click", "with pool", "0.400", "-0.012", "0.008", "0.700"):
        assert word in said
    assert "…" not in said
    assert max(len(line.rstrip()) for line in said.splitlines()) <= columns
