"""The verdict: all that the gate looks at, in one report.

First what needs no clicks. Then clicks that nobody has learnt. Where these are too few to see a
fall, also those that the draft alone has learnt: what is bad even there is bad.
"""

import math
from collections.abc import Iterator
from datetime import datetime

import numpy as np
import pyarrow as pa

from publisher import samples
from publisher.build import Draft
from publisher.gate import power
from publisher.gate.exactness import QUERIES, exactness
from publisher.gate.finding import Finding, reported
from publisher.gate.kinship import estranged
from publisher.gate.mechanics import mechanics
from publisher.gate.steps_back import is_older, knows_fewer, leaves_fewer
from publisher.gate.trial import (
    Rivals,
    Trial,
    alike_found,
    exposure_found,
    floors_found,
    recall_found,
    tried,
)
from publisher.unlearnt import Evidence
from publisher.witnesses import witnesses
from twintide.config import GateConfig
from twintide.features.columns import from_columns
from twintide.ragged import Encoded
from twintide.slices import ITEM_KEY
from twintide.versions import GateReport, VersionManifest

_BETTER = "it finds more than the live version all the same, by no chance"
"""Why a floor does not hold up a version: what is served in its place is worse."""

UNLEARNT = "clicks that neither has learnt"
LEARNT = "clicks that it has learnt itself"


def judge(
    draft: Draft,
    rivals: Rivals,
    evidence: Evidence,
    config: GateConfig,
    *,
    latest: datetime | None = None,
    rewound_to: str | None = None,
) -> GateReport:
    """Judge a draft. With `rewound_to`, an operator went back to that checkpoint on purpose. A
    newest click later than `latest` says nothing of how new anything is.
    """
    broken = mechanics(draft)
    findings = [Finding(broken)]
    if rivals.live:
        live = rivals.live.manifest
        findings.append(_steps_back(draft, live, config, latest=latest, rewound_to=rewound_to))
        findings.append(Finding([] if broken else estranged(draft, rivals.live)))
        findings.append(Finding(figures={"live": live.name}))
    else:
        findings.append(Finding(notes=["recall was not compared: no version is live"]))
    if broken:
        findings.append(Finding(notes=["recall was not judged: the mechanics failed"]))
    else:
        findings += _of_answers(draft, rivals, evidence, config)
    return reported(findings)


def _steps_back(
    draft: Draft,
    live: VersionManifest,
    config: GateConfig,
    *,
    latest: datetime | None,
    rewound_to: str | None,
) -> Finding:
    fewer, fewer_notes = knows_fewer(draft, live, config, rewound_to=rewound_to)
    older, older_notes = is_older(draft, live, latest=latest, rewound_to=rewound_to)
    reasons = fewer + older + leaves_fewer(draft, live, config)
    return Finding(reasons, fewer_notes + older_notes)


def _of_answers(
    draft: Draft, rivals: Rivals, evidence: Evidence, config: GateConfig
) -> Iterator[Finding]:
    """What the draft answers, to clicks and to sample queries."""
    yield exactness(draft, draft.model.query_vectors(_queries(draft, evidence)), config)
    unlearnt, gone = _to_be_had(draft, evidence.unlearnt)
    if gone:
        note = f"{gone} clicks on items that are not to be had any more were left out"
        yield Finding(notes=[note])
    unlearnt = witnesses(unlearnt, limit=config.max_events)
    if len(unlearnt) >= config.min_events:
        trial = tried(draft, rivals, unlearnt, k=config.k, on=UNLEARNT)
        yield from _looked_at(trial, draft, rivals, evidence, config)
        decided = _decided(trial, rivals, evidence, config)
    else:
        decided = _unjudged(len(unlearnt), evidence, config)
    yield decided
    if not decided.figures["decided"]:
        yield from _of_learnt(draft, rivals, evidence, config)


def _looked_at(
    trial: Trial, draft: Draft, rivals: Rivals, evidence: Evidence, config: GateConfig
) -> Iterator[Finding]:
    yield recall_found(trial, rivals, config)
    before, _ = _to_be_had(draft, evidence.listed_before(trial.clicks))
    for floor in (floors_found, alike_found):
        said = floor(trial, draft, before, config)
        yield said.as_notes(_BETTER) if trial.is_better_than_live() else said
    yield exposure_found(trial, draft, rivals, before, config)


def _of_learnt(
    draft: Draft, rivals: Rivals, evidence: Evidence, config: GateConfig
) -> Iterator[Finding]:
    """What speaks against a draft on clicks that flatter it; nothing else of it is reported."""
    learnt = witnesses(_to_be_had(draft, evidence.learnt)[0], limit=config.max_events)
    if len(learnt) >= config.min_events:
        trial = tried(draft, rivals, learnt, k=config.k, on=LEARNT)
        for each in _looked_at(trial, draft, rivals, evidence, config):
            yield Finding(each.reasons)


def _decided(trial: Trial, rivals: Rivals, evidence: Evidence, config: GateConfig) -> Finding:
    """Whether the clicks of a trial are enough to see a fall below the live version. One that
    cannot be asked leaves that open, whatever the floors say.
    """
    if trial.live is None:
        return Finding(figures={"decided": rivals.live is None})
    beside, fall = trial.against(trial.live), power.fall_to_see(config.max_recall_drop_ratio)
    if not beside.other:
        return _nothing_to_fall_from(trial, rivals)
    needed = power.clicks_needed(
        beside.other,
        changed=beside.changed,
        crowding=beside.crowding,
        fall=fall,
        allowed=config.max_recall_drop_ratio,
    )
    minutes = _minutes_for(needed, beside.clicks, evidence)
    is_decided = beside.clicks >= needed
    figures = {"events_needed": needed, "decided": is_decided, "holdback_minutes": minutes}
    if is_decided:
        return Finding(figures=figures)
    note = (
        f"undecided: a fall of {fall:.0%} is seen on {needed:,} clicks, there are "
        f"{beside.clicks:,}{_advice(minutes)}"
    )
    return Finding(notes=[note], figures=figures)


def _nothing_to_fall_from(trial: Trial, rivals: Rivals) -> Finding:
    """The live version finds none of the clicks, as where all are on items that came since: who
    finds none either may be any. One that does find them is better.
    """
    if trial.is_better_than_live() or rivals.live is None:
        return Finding(figures={"decided": True})
    found = f"{rivals.live.name} finds none of {len(trial.clicks):,} clicks"
    return Finding([], [f"undecided: {found}, so no fall can be seen"], {"decided": False})


def _unjudged(clicks: int, evidence: Evidence, config: GateConfig) -> Finding:
    minutes = _minutes_for(config.min_events, clicks, evidence)
    note = f"recall was not judged: {clicks} {UNLEARNT}, of {config.min_events} needed"
    figures = {"decided": False, "holdback_minutes": minutes}
    return Finding(notes=[f"{note}{_advice(minutes)}"], figures=figures)


def _minutes_for(needed: int, clicks: int, evidence: Evidence) -> int | None:
    """How long to hold back for so many clicks, at the pace of those there are."""
    if not clicks or not evidence.minutes:
        return None
    return math.ceil(needed * evidence.minutes / clicks)


def _advice(minutes: int | None) -> str:
    if minutes is None:
        return ""
    return f"; training.hourly.holdback_minutes: {minutes} would hold back enough (auto finds it)"


def _to_be_had(draft: Draft, clicks: pa.Table) -> tuple[pa.Table, int]:
    """Without clicks on items that are not to be had any more or were idle for longer than is
    declared, which say nothing of a version without these; and how many such there are.
    """
    if not len(clicks):
        return clicks, 0
    items = clicks[ITEM_KEY].to_numpy()
    to_be_had = ~np.isin(items, draft.items.idle)
    if draft.listing is not None:
        to_be_had &= draft.listing.may_be_answered(items)
    return clicks.filter(pa.array(to_be_had)), len(clicks) - int(to_be_had.sum())


def _queries(draft: Draft, evidence: Evidence) -> Encoded:
    """What the index is asked: as users asked last, or the sample queries where nobody did."""
    for clicks in (evidence.unlearnt, evidence.learnt):
        if len(clicks) >= samples.COUNT:
            return from_columns(clicks[-QUERIES:], draft.model.spec.query, "query")
    return samples.queries(draft.model, draft.checkpoint.events, draft.memories)
