"""The table: each contestant's recall, and which beat everything that is not ours."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.metrics import Tally

KS = ("recall@10", "recall@50", "recall@100")


@dataclass(frozen=True)
class Result:
    """One row: recall over the seeds, by name of the measure."""

    group: str
    name: str
    recalls: dict[str, tuple[float, ...]]
    clicks: int
    is_ours: bool

    @classmethod
    def of(cls, group: str, name: str, tallies: Sequence[Tally], *, is_ours: bool) -> "Result":
        recalls = {k: tuple(each.recall()[k] or 0.0 for each in tallies) for k in KS}
        return cls(group, name, recalls, tallies[0].positives, is_ours)

    def mean(self, k: str) -> float:
        return statistics.fmean(self.recalls[k])

    def said(self, k: str) -> str:
        """Mean ± standard deviation, as .2713 ± .0012."""
        values = self.recalls[k]
        spread = f" ± {_short(statistics.stdev(values))}" if len(values) > 1 else ""
        return f"{_short(self.mean(k))}{spread}"

    def line(self) -> str:
        return f"{self.group}, {self.name}: {', '.join(self.said(k) for k in KS)}"


def markdown(results: Sequence[Result]) -> str:
    """Bold: the best of all, and of what is not ours. ✓: above all that is not ours."""
    lines = [
        f"{results[0].clicks:,} clicks.",
        "",
        f"| | | {' | '.join(KS)} |",
        f"|---|---|{'---|' * len(KS)}",
    ]
    for each in results:
        cells = [_cell(each, k, results) for k in KS]
        lines.append(f"| {each.group} | {each.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(each: Result, k: str, results: Sequence[Result]) -> str:
    others = max((one.mean(k) for one in results if not one.is_ours), default=0.0)
    best = max(one.mean(k) for one in results)
    mean, said = each.mean(k), each.said(k)
    said = f"**{said}**" if mean in {best, others} else said
    return f"{said} ✓" if each.is_ours and mean > others else said


def _short(value: float) -> str:
    return f"{value:.4f}".lstrip("0")
