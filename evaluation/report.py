"""report.json, and the page that shows it."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from evaluation import ablation
from evaluation.exact import index_of
from evaluation.figures import Figures, differences
from evaluation.page.page import page_of
from evaluation.runner import Runner
from evaluation.verdict import verdict

REPORT = "report.json"
PAGE = "report.html"


def report(
    runners: Sequence[Runner],
    *,
    data: dict[str, Any],
    left_out: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """report.json. Runners of one policy, which differ by their seeds, stand beside each other.
    `left_out` are ingredients that an ablation could not try.
    """
    of_policy = groupby(runners, key=lambda each: each.policy.name)
    every = [Figures.of(list(each)) for _, each in of_policy]
    found = [each for each in every if each.policy.is_told_of]
    exact = {each.policy.exact_of: each for each in every}
    varied = [each for each in every if each.policy.ingredient is not None]
    made: dict[str, Any] = {
        "format": 1,
        "data": data,
        "policies": [
            each.report(items=data["items"], stream_hours=data["hours"])
            | index_of(each, exact.get(each.policy.name))
            for each in found
        ],
        "differences": list(differences(found)),
    }
    said = list[str]()
    if varied:
        (whole,) = (each for each in found if each.policy.kind == "model")
        made["ablation"] = ablation.effects(whole, varied, left_out, stream_hours=data["hours"])
        said = list(ablation.verdict(made["ablation"]))
    return made | {"verdict": verdict(made) + said}


def write_report(report: dict[str, Any], out: Path, *, zone: str) -> list[Path]:
    """report.json and the page beside it; returns the two paths."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [out / REPORT, out / PAGE]
    paths[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    paths[1].write_text(page_of(report, zone=zone), encoding="utf-8")
    return paths
