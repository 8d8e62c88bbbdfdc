"""What one look at a draft found: reasons against it, notes, and figures for the report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twintide.versions import GateReport


@dataclass(frozen=True)
class Finding:
    """Of one look."""

    reasons: Sequence[str] = ()
    """Why the draft must not be promoted."""

    notes: Sequence[str] = ()
    """What could not be judged, or was meant."""

    figures: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the report."""

    def as_notes(self, why: str) -> "Finding":
        """The same, where its reasons are none."""
        meant = [f"{reason}; {why}" for reason in self.reasons]
        return Finding(notes=[*meant, *self.notes], figures=self.figures)


def reported(findings: Sequence[Finding]) -> GateReport:
    """All findings as one report; the draft passes where there is no reason."""
    reasons = tuple(each for found in findings for each in found.reasons)
    notes = tuple(each for found in findings for each in found.notes)
    figures = {name: value for found in findings for name, value in found.figures.items()}
    return GateReport(passed=not reasons, reasons=reasons, notes=notes, **figures)
