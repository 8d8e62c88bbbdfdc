"""A report as one HTML file: nothing is loaded from anywhere, and no script runs.

The template escapes whatever it is given. The style is that of the status page.
"""

from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from evaluation.costs import PARTS
from evaluation.page import drawing
from twintide import __version__

HERE = Path(__file__).parent
KS = (10, 100)


def page_of(report: dict[str, Any], *, zone: str) -> str:
    """The whole page."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "share": _share,
        "number": _number,
        "thousands": "{:,}".format,
        "words": _words,
        "sentence": _sentence,
    }
    policies = report["policies"]
    ranked = sorted(enumerate(policies), key=lambda each: each[1]["recall@10"] or 0.0, reverse=True)
    return environment.get_template("report.html").render(
        report=report,
        ranked=ranked,
        best=max((each["recall@10"] or 0.0 for each in policies), default=0.0),
        groups=list(_groups([each for _, each in ranked])),
        hourly=[(k, drawing.by_hour(policies, k=k, zone=zone)) for k in KS],
        aged=[(of, drawing.by_age(policies, of, k=KS[0])) for of in ("model", "statistics")],
        smoothed=drawing.window(max((len(each["hours"]) for each in policies), default=0)),
        ks=KS,
        effect_reach=_reach(report.get("ablation", {}).get("ingredients", [])),
        zone=zone,
        parts=PARTS,
        box=drawing,
        style=_style(),
        program=__version__,
    )


def _groups(policies: Sequence[dict[str, Any]]) -> Iterator[tuple[str, int, list[Any], float]]:
    """Name, clicks, recall@10 of each policy, and the best of these."""
    for name in dict.fromkeys(name for each in policies for name in each["groups"]):
        own = [each["groups"].get(name, {}) for each in policies]
        recalls = [each.get("recall@10") for each in own]
        clicks = max(each.get("positives", 0) for each in own)
        yield name, clicks, recalls, max((each or 0.0 for each in recalls), default=0.0)


def _reach(ingredients: Sequence[dict[str, Any]]) -> float:
    """How far from none the largest difference of an ingredient may be."""
    ends = [
        abs(end)
        for each in ingredients
        for k in KS
        for end in each["difference"].get(f"interval@{k}", ())
    ]
    return max(ends, default=0.0) or 1.0


def _style() -> Markup:
    """Our own files, which hold no closing tag."""
    shared = (resources.files("serving.page") / "style.css").read_text(encoding="utf-8")
    own = (HERE / "report.css").read_text(encoding="utf-8")
    return Markup(shared + own)  # noqa: S704  ours, and nothing of the report's


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
