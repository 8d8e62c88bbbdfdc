"""The verdict: all that the gate looks at, in one report."""

from datetime import datetime

import pyarrow as pa

from publisher.build import Draft
from publisher.gate.mechanics import mechanics
from publisher.gate.recall import Recall, compare, recall_reasons
from publisher.gate.steps_back import is_older, knows_fewer, leaves_fewer
from publisher.reader import LoadedVersion
from twintide.config import GateConfig
from twintide.slices import ITEM_KEY
from twintide.versions import GateReport


def judge(
    draft: Draft,
    live: LoadedVersion | None,
    clicks: pa.Table | None,
    config: GateConfig,
    *,
    latest: datetime | None = None,
    rewound_to: str | None = None,
) -> GateReport:
    """Judge a draft. `clicks` are rows of slices that neither the draft nor `live` has learnt,
    newest last; None where there are none. With `rewound_to`, an operator went back to that
    checkpoint on purpose. A newest click later than `latest` says nothing of how new anything is.
    """
    reasons = mechanics(draft)
    clicks, notes = _to_be_had(draft, clicks)
    if live:
        for found, said in (
            knows_fewer(draft, live.manifest, config, rewound_to=rewound_to),
            is_older(draft, live.manifest, latest=latest, rewound_to=rewound_to),
        ):
            reasons += found
            notes += said
        reasons += leaves_fewer(draft, live.manifest, config)
    if live is None:
        notes.append("recall was not compared: no version is live")
    if clicks is None or len(clicks) < config.min_events:
        seen = 0 if clicks is None else len(clicks)
        notes.append(
            f"recall was not judged: {seen} clicks that neither has learnt, "
            f"of {config.min_events} needed"
        )
        return _report(reasons, notes, live)
    if reasons:
        notes.append("recall was not judged: the mechanics failed")
        return _report(reasons, notes, live)
    newest = clicks.slice(max(0, len(clicks) - config.max_events))
    recall = compare(draft, live, newest, k=config.k)
    reasons += recall_reasons(recall, config) if live else []
    return _report(reasons, notes, live, recall=recall, k=config.k)


def _to_be_had(draft: Draft, clicks: pa.Table | None) -> tuple[pa.Table | None, list[str]]:
    """Clicks on items that are not to be had any more say nothing of a version without these."""
    if clicks is None or draft.listing is None:
        return clicks, []
    to_be_had = draft.listing.may_be_answered(clicks[ITEM_KEY].to_numpy())
    left_out = len(clicks) - int(to_be_had.sum())
    if not left_out:
        return clicks, []
    note = f"{left_out} clicks on items that are not to be had any more were left out"
    return clicks.filter(pa.array(to_be_had)), [note]


def _report(
    reasons: list[str],
    notes: list[str],
    live: LoadedVersion | None,
    *,
    recall: Recall | None = None,
    k: int = 0,
) -> GateReport:
    return GateReport(
        passed=not reasons,
        reasons=tuple(reasons),
        notes=tuple(notes),
        events=recall.events if recall else 0,
        k=k,
        recall=recall.draft if recall else None,
        live_recall=recall.live if recall and live else None,
        live=live.name if live else None,
    )
