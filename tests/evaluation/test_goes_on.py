"""A stopped evaluation goes on, and its figures are those of one that was not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluation.progressive import Tick
from evaluation.report import report
from evaluation.runner import Runner
from tests.console.conftest import stream
from tests.evaluation import made
from tests.evaluation.world import HOURS, Evaluation
from tests.trainer.conftest import deployment_in
from twintide.program import Interrupted

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

LISTS = ["popular-1h", "co-visitation", "popular-decayed"]


def figures(runners: list[Runner]) -> dict[str, Any]:
    """All but what it took."""
    found = report(runners, data=made.data([]))
    for each in (*found["policies"], *found.get("ablation", {}).get("ingredients", [])):
        for name in ("train_seconds", "cost_seconds", "cost_seconds_per_hour"):
            del each[name]
    return found | {"verdict": [each for each in found["verdict"] if " costs " not in each]}


def stopped_after(ticks: int) -> Any:
    def on_tick(tick: Tick) -> None:
        if tick.done_here == ticks:
            raise Interrupted(15)

    return on_tick


def forget_last_tick(folder: Path) -> None:
    """One policy, or the lists, were not kept when it was killed."""
    kept = [*folder.glob("*/scored/*.npz"), *folder.glob("scored-*/lists/*.npz")]
    max(kept, key=lambda path: path.name).unlink()


def check_pieces(tmp_path: Path, names: list[str], ingredients: Sequence[str] = ()) -> None:
    """In one piece, and in three, the second of which was killed before it kept its last tick."""
    events = stream(deployment_in(tmp_path), hours=HOURS)
    whole = Evaluation(tmp_path / "whole", events, names, ingredients).run()
    pieces = Evaluation(tmp_path / "pieces", events, names, ingredients)
    for ticks in (25, 3):
        with pytest.raises(Interrupted):
            pieces.run(on_tick=stopped_after(ticks))
    forget_last_tick(tmp_path / "pieces")

    assert figures(pieces.run()) == figures(whole)


def test_lists_in_pieces_have_the_figures_of_the_whole(tmp_path: Path) -> None:
    """What they count is counted anew from the slices."""
    check_pieces(tmp_path, LISTS)


def test_models_in_pieces_have_the_figures_of_the_whole(tmp_path: Path) -> None:
    """Checkpoints and versions are taken up, half a tick too."""
    check_pieces(tmp_path, ["nightly+hourly+statistics-20min", "popular-1h"])


def test_an_ablation_in_pieces_has_the_figures_of_the_whole(tmp_path: Path) -> None:
    """A variation that shares slices with the whole, and one that has its own."""
    check_pieces(tmp_path, ["nightly+hourly"], ["small batches", "histories"])


def test_another_question_begins_anew(tmp_path: Path) -> None:
    """Nothing of what lies in the folder is an answer to it."""
    events = stream(deployment_in(tmp_path), hours=26)
    Evaluation(tmp_path / "work", events, ["popular-1h"]).run()
    done: list[int] = []

    Evaluation(tmp_path / "work", events, ["popular-24h"]).run(
        on_tick=lambda tick: done.append(tick.done_here)
    )

    assert done[0] == 1
