"""What a version must show that has the weights of the live one, and newer statistics and items.

Its weights were judged, and no click is left that its statistics have not counted: so it is not
asked what it finds. What may have gone wrong is looked at: vectors, index, and what it knows.
"""

from publisher import samples
from publisher.build import Draft
from publisher.gate.exactness import exactness
from publisher.gate.finding import Finding, reported
from publisher.gate.mechanics import mechanics
from publisher.gate.steps_back import knows_fewer, leaves_fewer
from twintide.config import GateConfig
from twintide.versions import GateReport, VersionManifest


def judge_refreshed(draft: Draft, live: VersionManifest, config: GateConfig) -> GateReport:
    """Judge a draft beside the live version, which has the same weights."""
    broken = mechanics(draft)
    fewer, notes = knows_fewer(draft, live, config, rewound_to=None)
    findings = [
        Finding(broken),
        Finding([*fewer, *leaves_fewer(draft, live, config), *_counts_less(draft, live)], notes),
        Finding(notes=[f"its weights are those of {draft.refreshes}, and were judged there"]),
        Finding(figures={"live": live.name}),
    ]
    if not broken:
        encoded = samples.queries(draft.model, draft.checkpoint.events, draft.memories)
        findings.append(exactness(draft, draft.model.query_vectors(encoded), config))
    return reported(findings)


def _counts_less(draft: Draft, live: VersionManifest) -> list[str]:
    """Why its clicks are too old."""
    own = draft.counted.newest_event_at if draft.counted else None
    before = live.newest_counted_at
    if before is None or (own is not None and own >= before):
        return []
    return [f"the newest click that it counts is of {own}, that of the live version of {before}"]
