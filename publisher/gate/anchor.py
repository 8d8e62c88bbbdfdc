"""Which of the versions that were live before a draft is held against, beside the live one.

A line that loses a little with each version never falls far below the live one. What each version
made of the one before it is in its report; multiplied up, this says which was the best.
"""

from collections.abc import Sequence

from twintide.versions import GateReport, VersionManifest


def best_first(were_live: Sequence[VersionManifest], *, among: int) -> list[VersionManifest]:
    """Of versions that were live, oldest first and the live one last: the newest `among` of those
    before it, the best first. Nobody looks back beyond one that an operator answered for.
    """
    strength = 1.0
    strengths: list[tuple[float, VersionManifest]] = []
    for each in were_live[-among - 1 :]:
        strength = 1.0 if each.gate.overruled else strength * _gained(each.gate)
        strengths = [] if each.gate.overruled else strengths
        strengths.append((strength, each))
    newest_first = strengths[:-1][::-1]
    return [each for _, each in sorted(newest_first, key=lambda one: -one[0])]


def _gained(report: GateReport) -> float:
    """Its recall over that of the version that was live then; 1 where nobody measured it."""
    if report.recall is None or not report.live_recall:
        return 1.0
    return report.recall / report.live_recall
