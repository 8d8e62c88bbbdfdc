"""How far an evaluation has come: what is shown on the way, and reported where it ends early."""

from dataclasses import dataclass, field
from typing import Any

from evaluation.progressive import OnTick, Tick
from evaluation.report import report
from twintide.clock import iso, monotonic_seconds
from twintide.output import Update


@dataclass
class Watch:
    """How far an evaluation has come: what is reported where it is interrupted."""

    tick: Tick | None = None
    began: float = field(default_factory=monotonic_seconds)

    def report(self, facts: dict[str, Any]) -> dict[str, Any]:
        """report.json; where the way is not gone to its end, it says how far."""
        tick = self.tick
        found = report(tick.runners if tick else [], data=facts)
        if tick is not None and tick.done < tick.ticks:
            ratio = round(tick.done / tick.ticks, 3)
            found["partial"] = {"at": iso(tick.at), "done_ratio": ratio}
        return found | {"seconds": round(monotonic_seconds() - self.began, 1)}


def ticking(update: Update, watch: Watch) -> OnTick:
    """Progress of an evaluation: the virtual time, and the recall so far."""

    def on_tick(tick: Tick) -> None:
        watch.tick = tick
        models = [each for each in tick.runners if each.policy.kind == "model"] or tick.runners
        found = [(each.policy.name, each.board.overall.recall()["recall@10"]) for each in models]
        words = ", ".join(f"{name} {recall:.3f}" for name, recall in found if recall is not None)
        words = f"recall@10: {words}" if words else "not scored yet"
        update(tick.done, tick.ticks, f"{tick.at:%F %H:%M} {words}")

    return on_tick
