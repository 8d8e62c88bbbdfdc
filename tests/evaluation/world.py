"""A small stream through the whole evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from evaluation.ablation import ablation_of
from evaluation.exact import beside_exact
from evaluation.lanes import Scoring
from evaluation.policies import beside_each_other, parse_policy
from evaluation.progressive import OnTick, progressive
from evaluation.runner import Runner
from evaluation.scored import Clicks
from evaluation.setup import Setup
from evaluation.span import Span
from evaluation.workfolder import write_all
from tests.console.conftest import hour
from tests.trainer.conftest import deployment_in
from twintide.config import fill_in

HOURS = 30
SPAN = Span(hour(0), hour(HOURS), hour(24), hour(HOURS))
Click = tuple[int, int, int]
"""When, who, what."""


@dataclass(frozen=True)
class Evaluation:
    """One that can be asked for again in the same folder."""

    folder: Path
    events: pa.Table
    names: Sequence[str]
    ingredients: Sequence[str] = ()
    """That are taken out, or put in."""

    is_exact: bool = False
    """Whether an exact search is beside each index."""

    changes: dict[str, Any] = field(default_factory=dict)
    """Of the configuration."""

    def run(self, *, on_tick: OnTick | None = None, processes: int = 1) -> list[Runner]:
        """All of it, or what is left of it, by so many processes."""
        self.folder.mkdir(exist_ok=True)
        deployment = fill_in(deployment_in(self.folder), self.changes)
        own = write_all(deployment, self.events, self.folder, asked={"names": list(self.names)})
        policies = beside_each_other([parse_policy(name) for name in self.names])
        if self.is_exact:
            policies = list(beside_exact(policies))
        if self.ingredients:
            policies += ablation_of(Setup(own), policies, only=self.ingredients).policies
        return progressive(
            own,
            policies,
            Scoring(SPAN),
            folder=self.folder,
            processes=processes,
            on_tick=on_tick,
        )


def places(runner: Runner) -> dict[Click, int]:
    """Where the item of each click stood in its list; 255 for nowhere."""
    clicks = Clicks.all_of(runner.board.clicks)
    found = zip(clicks.at_ms.tolist(), clicks.users.tolist(), clicks.items.tolist(), strict=True)
    return dict(zip(found, runner.board.positions().tolist(), strict=True))
