r"""Where everything of the two drawings lies, in pixels: the two lines, and recall by version.

Pure: manifests in, coordinates out; the templates write them as SVG. The newest is on the right.

    nightly   (12) ────────── (15)
                 \                \
    hourly       (13) ── (14)      (16)
                  :        :         :
    version      v12  ✕  v13  ●    v14
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from twintide.checkpoints import CheckpointManifest
from twintide.overview.versions import VersionRow

SHOWN_CHECKPOINTS = 30
SHOWN_VERSIONS = 30
STEP = 52
LEFT = 84
NIGHTLY_Y, HOURLY_Y, VERSION_Y = 40, 104, 172
LINES_HEIGHT = 206
RECALL_LEFT, RECALL_RIGHT = 8, 56
RECALL_TOP, RECALL_BOTTOM, RECALL_HEIGHT = 20, 168, 206
SMALLEST_TOP = 0.05
"""So that an axis never ends at 0."""

FINE = 0.2
"""Of a lower axis, ticks have a third digit."""

MARKS = {
    "live": "●",
    "previous": "○",
    "was live": "✓",
    "rolled back": "↩",
    "refused": "✕",
    "never live": "–",
    "damaged": "!",
}


@dataclass(frozen=True)
class Knot:
    """A checkpoint."""

    name: str
    number: str
    kind: str
    x: int
    y: int
    said: str
    """What a person who points at it reads."""


@dataclass(frozen=True)
class Edge:
    """From a checkpoint to what began with it."""

    path: str
    is_hand_over: bool
    """From a nightly to the first hourly on it."""


@dataclass(frozen=True)
class Label:
    """A version, below its checkpoint."""

    name: str
    state: str
    mark: str
    x: int
    y: int
    said: str


@dataclass(frozen=True)
class Lines:
    """The two lines."""

    width: int
    knots: list[Knot]
    edges: list[Edge]
    labels: list[Label]
    earlier: int
    """Checkpoints that are older than those drawn."""

    height: int = LINES_HEIGHT


def lines(
    made: Sequence[CheckpointManifest], versions: Sequence[VersionRow], once_live: frozenset[str]
) -> Lines:
    """The newest checkpoints, what came from what, and the versions made of them."""
    shown = made[-SHOWN_CHECKPOINTS:]
    knots = {each.name: _knot(each, place) for place, each in enumerate(shown)}
    edges = [_edge(each, knots) for each in shown if each.parent is not None]
    newest_of = {each.checkpoint: each for each in versions}
    labels = [
        _label(newest_of[knot.name], knot, once_live)
        for knot in knots.values()
        if knot.name in newest_of
    ]
    width = LEFT + STEP * max(len(shown), 1)
    return Lines(width, list(knots.values()), edges, labels, len(made) - len(shown))


def _knot(each: CheckpointManifest, place: int) -> Knot:
    y = NIGHTLY_Y if each.kind == "nightly" else HOURLY_Y
    said = f"{each.name}: {each.rows:,} clicks" + (f" of {each.day}" if each.day else "")
    if each.parent:
        said += f", began with {each.parent}"
    return Knot(each.name, str(each.sequence), each.kind, LEFT + STEP * place + STEP // 2, y, said)


def _edge(each: CheckpointManifest, knots: dict[str, Knot]) -> Edge:
    """One whose parent is not drawn begins at the left edge."""
    to = knots[each.name]
    begin = knots.get(each.parent or "")
    y = NIGHTLY_Y if (each.parent or "").startswith("nightly") else HOURLY_Y
    x, y = (begin.x, begin.y) if begin else (LEFT - 8, y)
    if y == to.y:
        return Edge(f"M{x} {y}H{to.x}", is_hand_over=False)
    middle = (x + to.x) // 2 if begin else x
    return Edge(f"M{x} {y}C{middle} {y} {middle} {to.y} {to.x} {to.y}", is_hand_over=True)


def standing_of(row: VersionRow, once_live: frozenset[str]) -> str:
    """What a version is, in a word or two."""
    return row.state or ("was live" if row.name in once_live else "never live")


def _label(row: VersionRow, knot: Knot, once_live: frozenset[str]) -> Label:
    state = standing_of(row, once_live)
    said = f"version {row.name} of {row.checkpoint}: {state}"
    if row.gate is not None and row.gate.reasons:
        said += f"; {'; '.join(row.gate.reasons)}"
    return Label(short(row.name), state, MARKS[state], knot.x, VERSION_Y, said)


def short(version: str) -> str:
    """v12 for v000012."""
    return f"v{int(version[1:])}"


@dataclass(frozen=True)
class Point:
    """Recall of a version."""

    name: str
    x: int
    y: int
    state: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Tick:
    """A line of the recall axis."""

    y: int
    words: str


@dataclass(frozen=True)
class RecallChart:
    """Recall by version, as its gate measured it."""

    width: int
    points: list[Point]
    ticks: list[Tick]
    line: str
    """Through the versions that passed."""

    height: int = RECALL_HEIGHT


def recall_chart(versions: Sequence[VersionRow]) -> RecallChart | None:
    """None where no recall was measured."""
    measured = [each for each in versions if each.recall is not None][-SHOWN_VERSIONS:]
    if not measured:
        return None
    top = top_of_axis(max(each.recall or 0.0 for each in measured))
    points = [_point(each, place, top) for place, each in enumerate(measured)]
    passed = [each for each in points if each.passed]
    line = "".join(f"M{a.x} {a.y}L{b.x} {b.y}" for a, b in pairwise(passed))
    ticks = [_tick(top * share / 4, top) for share in range(5)]
    return RecallChart(RECALL_LEFT + STEP * len(measured) + RECALL_RIGHT, points, ticks, line)


def top_of_axis(highest: float) -> float:
    """The next of 0.05, 0.1, 0.2, 0.4, 0.6, 0.8 and 1."""
    steps = (SMALLEST_TOP, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    return next((each for each in steps if highest <= each), 1.0)


def _tick(recall: float, top: float) -> Tick:
    digits = 2 if top >= FINE else 3
    return Tick(_recall_y(recall, top), f"{recall:.{digits}f}")


def _recall_y(recall: float, top: float) -> int:
    return round(RECALL_BOTTOM - (RECALL_BOTTOM - RECALL_TOP) * recall / top)


def _point(each: VersionRow, place: int, top: float) -> Point:
    recall, gate = each.recall or 0.0, each.gate
    passed = gate is None or gate.passed
    said = f"{each.name}: recall {recall:.3f}, {'passed' if passed else 'refused'}"
    return Point(
        short(each.name),
        RECALL_LEFT + STEP * place + STEP // 2,
        _recall_y(recall, top),
        each.state,
        passed,
        said,
    )
