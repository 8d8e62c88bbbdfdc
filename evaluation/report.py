"""report.json, and the plot beside it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluation.plots import recall_by_hour
from evaluation.runner import Runner

REPORT = "report.json"
PLOT = "recall.png"


def report(runners: Sequence[Runner], *, data: dict[str, Any]) -> dict[str, Any]:
    """report.json."""
    return {
        "format": 1,
        "data": data,
        "policies": [
            {
                "name": runner.policy.name,
                "kind": runner.policy.kind,
                **runner.board.report(items=data["items"]),
                "train_seconds": round(runner.train_seconds, 3),
                "versions": runner.versions,
            }
            for runner in runners
        ],
    }


def write_report(report: dict[str, Any], out: Path, *, zone: str) -> list[Path]:
    """report.json and the plot beside it; returns the two paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / REPORT, out / PLOT]
    paths[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    recall_by_hour(report, paths[1], zone=zone)
    return paths
