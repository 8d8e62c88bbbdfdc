"""How far an evaluation has come: what is shown on the way, and reported where it ends early."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluation.lanes import Scoring
from evaluation.progressive import OnTick, Tick
from evaluation.report import report
from evaluation.work import seconds_left
from twintide.clock import iso, monotonic_seconds
from twintide.output import Update


@dataclass
class Watch:
    """How far an evaluation has come: what is reported where it is interrupted."""

    scoring: Scoring
    left_out: Sequence[tuple[str, str]] = ()
    """Ingredients that are not tried, and why."""

    tick: Tick | None = None
    began: float = field(default_factory=monotonic_seconds)

    def report(self, facts: dict[str, Any]) -> dict[str, Any]:
        """report.json; where the way is not gone to its end, it says how far."""
        tick = self.tick
        found = report(tick.runners if tick else [], data=facts, left_out=self.left_out)
        if tick is not None and tick.done < tick.ticks:
            ratio = round(tick.done / tick.ticks, 3)
            found["partial"] = {"at": iso(tick.at), "done_ratio": ratio}
        found["sample"] = self.scoring.sample
        return found | {"seconds": round(monotonic_seconds() - self.began, 1)}

    def left(self) -> str:
        """How long it takes from here, by what is left to do."""
        tick = self.tick
        if tick is None or not tick.done_here:
            return ""
        seconds = seconds_left(tick.progress, elapsed=monotonic_seconds() - self.began)
        return f" ({said_seconds(seconds)} left)"


def said_seconds(seconds: float) -> str:
    """40 s, 12 min, 3.5 h."""
    if seconds < 100:  # noqa: PLR2004  more are minutes
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004


def ticking(update: Update, watch: Watch) -> OnTick:
    """Progress of an evaluation: the virtual time, and the recall so far."""

    def on_tick(tick: Tick) -> None:
        watch.tick = tick
        whole = [each for each in tick.runners if each.policy.is_told_of]
        models = [each for each in whole if each.policy.kind == "model"] or whole
        found = [(each.policy.name, each.board.overall.recall()["recall@10"]) for each in models]
        words = ", ".join(f"{name} {recall:.3f}" for name, recall in found if recall is not None)
        words = f"recall@10: {words}" if words else "not scored yet"
        update(tick.done, tick.ticks, f"{tick.at:%F %H:%M}{watch.left()} {words}")

    return on_tick
