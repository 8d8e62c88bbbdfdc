"""What the gate says of a draft: gathers what it is held against, and the clicks of now."""

from contextlib import suppress
from pathlib import Path

from publisher import gate, registry
from publisher.build import Draft
from publisher.gate.anchor import best_first
from publisher.reader import LoadedVersion, load_where_declared
from publisher.unlearnt import Evidence, newest_clicks
from twintide.checkpoints import CheckpointManifest, read_manifest, sequence_of
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.modelspec import ModelSpec
from twintide.slices import chain_dir
from twintide.verified import Verified
from twintide.versions import (
    GateReport,
    ServingState,
    VersionManifest,
    judged_live,
    read_version_manifest,
)

Beside = tuple[gate.Rivals, tuple[str, ...]]
"""What a draft is held against, and why there may be nothing."""


def judged(deployment: Deployment, draft: Draft, beside: Beside, *, clock: Clock) -> GateReport:
    """What the gate says of a draft beside what was live, on the clicks of now."""
    rivals, note = beside
    live = rivals.live.manifest if rivals.live else None
    report = gate.judge(
        draft,
        rivals,
        evidence_on(deployment, draft.checkpoint, rivals),
        deployment.publishing.gate,
        latest=clock.latest(),
        rewound_to=_rewound_to(deployment, draft.checkpoint, live) if live else None,
    )
    return report.model_copy(update={"notes": (*note, *report.notes)})


def not_judged() -> GateReport:
    """The gate was left out."""
    return GateReport(
        passed=True, notes=("not judged: the operator asked for it",), overruled=True, decided=False
    )


def evidence_on(deployment: Deployment, own: CheckpointManifest, rivals: gate.Rivals) -> Evidence:
    """The newest clicks that none of those asked has learnt, and those that a draft of this
    checkpoint alone has.
    """
    both = [each.manifest for each in (rivals.live, rivals.best) if each]
    others = [each for each in both if gate.can_be_asked(each.model, own.model)]
    return newest_clicks(
        chain_dir(deployment.slices_dir, own.events, own.model),
        own=own.position,
        others=[each.knows_of for each in others],
        specs=[own.model, *(each.model for each in others)],
        limit=deployment.publishing.gate.max_events,
        left_out=own.left_out,
    )


def rivals_of(
    deployment: Deployment, own: CheckpointManifest, state: ServingState, *, verified: Verified
) -> Beside:
    """What is live and what was, up to `state`, beside a draft of this checkpoint."""
    root, among = deployment.versions_dir, deployment.publishing.gate.best_of
    live, note = _live_version(deployment, state, verified)
    were_live = _were_live(root, state) if live else []
    before = best_first(were_live, among=among)
    best = _first_to_be_asked(deployment, before, own.model, verified)
    reports = tuple(each.gate for each in were_live[-max(1, among) :])
    return gate.Rivals(live, best, reports), note


def _live_version(
    deployment: Deployment, state: ServingState, verified: Verified
) -> tuple[LoadedVersion | None, tuple[str, ...]]:
    """The live version to compare with, or why there is none. Where it was refreshed, as it was
    before: what is live has counted the clicks that it would be asked about.
    """
    name = judged_live(state)
    if name is None:
        return None, ()
    try:
        return _loaded(deployment, name, verified), ()
    except (Corrupt, Refused) as error:
        return None, (f"the live version {name} cannot be read: {error.message}",)


def _loaded(deployment: Deployment, name: str, verified: Verified) -> LoadedVersion:
    declared = deployment.publishing.milvus
    return load_where_declared(deployment.versions_dir, name, declared=declared, verified=verified)


def _were_live(root: Path, state: ServingState) -> list[VersionManifest]:
    """Those that were live one after the other and nobody went back from, as far as they are there;
    oldest first, the live one last.
    """
    found = []
    for name in dict.fromkeys(reversed(registry.live_pile(state))):
        with suppress(Corrupt, Refused):
            found.append(read_version_manifest(root, name))
    return found[::-1]


def _first_to_be_asked(
    deployment: Deployment, before: list[VersionManifest], spec: ModelSpec, verified: Verified
) -> LoadedVersion | None:
    """The first of these that can be read, and reads nothing of a click that the draft does not."""
    for manifest in before:
        if gate.can_be_asked(manifest.model, spec):
            with suppress(Corrupt, Refused):
                return _loaded(deployment, manifest.name, verified)
    return None


def _rewound_to(
    deployment: Deployment, own: CheckpointManifest, live: VersionManifest
) -> str | None:
    """The checkpoint that an operator went back to after the live version's had been trained, if
    this one is or stands on what that made.
    """
    one: CheckpointManifest | None = own
    while one is not None and one.sequence > sequence_of(live.checkpoint):
        if one.is_rewound:
            return one.parent
        parent = _parent_of(deployment, one)
        one = parent if parent and parent.sequence < one.sequence else None  # never in circles
    return None


def _parent_of(deployment: Deployment, one: CheckpointManifest) -> CheckpointManifest | None:
    """None where it has none, or that is gone or damaged."""
    with suppress(Corrupt, Refused):
        return read_manifest(deployment.checkpoints_dir, one.parent) if one.parent else None
    return None
