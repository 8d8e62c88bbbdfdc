"""Statistics between passes: nothing is learnt, and what is shown follows the clicks."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.model import ModelRunner
from tests.console.conftest import stream
from tests.evaluation.world import HOURS, Evaluation
from tests.trainer.conftest import deployment_in

NAME = "nightly+hourly+statistics-20min"
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def test_between_passes_only_statistics_are_new(tmp_path: Path) -> None:
    """Versions come by the hour, statistics at every tick, and they are paid for apart."""
    events = stream(deployment_in(tmp_path), hours=HOURS)
    (runner,) = Evaluation(tmp_path / "work", events, [NAME]).run()

    assert isinstance(runner, ModelRunner)
    ages = np.concatenate([each.at_ms for each in runner.board.clicks])
    refreshed = runner.board.instants("refreshed_ms")
    assert ((ages - refreshed) < 40 * 60_000).all()
    assert len(np.unique(refreshed)) > 2 * runner.versions
    assert set(runner.costs.seconds) == {"slicing", "training", "publishing", "statistics"}
