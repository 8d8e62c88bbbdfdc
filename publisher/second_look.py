"""What went live undecided is judged again, once clicks have come that are enough to see a fall.

Where it is refused then, what was live before it is served again: one step, from what was promoted
last, and promotion is on hold, as after any rollback. Where nothing was live before, it stays and
the state says what was found. Each version is judged again until that is decided, once.
"""

from contextlib import suppress

from publisher import registry
from publisher.drafting import drafted
from publisher.judging import evidence_on, judged, rivals_of
from publisher.witnesses import witnesses
from twintide.checkpoints import read_manifest
from twintide.clock import Clock
from twintide.config import Deployment
from twintide.errors import Corrupt, Refused
from twintide.listings import open_listing
from twintide.telemetry import get_log
from twintide.verified import Verified
from twintide.versions import (
    GateReport,
    SecondLook,
    ServingState,
    VersionManifest,
    judged_live,
    read_version_manifest,
)

log = get_log("publisher")


def look_again(
    deployment: Deployment, state: ServingState, *, clock: Clock, verified: Verified
) -> ServingState:
    """The state after a second look at what is live, if it is time for one. What cannot be read
    leaves the question open.
    """
    manifest = _judged(deployment, state)
    if manifest is None or not _is_open(state, manifest):
        return state
    try:
        report = _judged_again(deployment, manifest, state, clock=clock, verified=verified)
    except (Corrupt, Refused) as error:
        log.warning("not_judged_again", version=manifest.name, reason=error.message)
        return state
    if report is None or (report.passed and not report.decided):
        return state
    found = _found(manifest, report, clock)
    return _acted(deployment, found, live=state.current or manifest.name, clock=clock)


def _judged(deployment: Deployment, state: ServingState) -> VersionManifest | None:
    """The version whose weights are live; None where it cannot be read."""
    name = judged_live(state)
    with suppress(Corrupt, Refused):
        return read_version_manifest(deployment.versions_dir, name) if name else None
    return None


def _is_open(state: ServingState, manifest: VersionManifest) -> bool:
    """Whether clicks were too few when it went live, by no word of an operator, and still are."""
    is_looked_at = state.second_look is not None and state.second_look.version == manifest.name
    is_live_by_promotion = registry.was_promoted_last(state)
    report = manifest.gate
    return is_live_by_promotion and not (report.decided or report.overruled or is_looked_at)


def _judged_again(
    deployment: Deployment,
    manifest: VersionManifest,
    state: ServingState,
    *,
    clock: Clock,
    verified: Verified,
) -> GateReport | None:
    """Beside what was live before it; None as long as no more clicks have come than are needed."""
    before = registry.before_the_last(state)
    own = read_manifest(deployment.checkpoints_dir, manifest.checkpoint)
    beside = rivals_of(deployment, own, before, verified=verified)
    unlearnt = evidence_on(deployment, own, beside[0]).unlearnt
    config = deployment.publishing.gate
    clicks = len(witnesses(unlearnt, limit=config.max_events))
    if clicks < max(config.min_events, manifest.gate.events_needed or 0):
        return None
    listing = open_listing(deployment.items_dir, manifest.listing, own.events)
    draft = drafted(deployment, own.name, listing, verified=verified)
    return judged(deployment, draft, beside, clock=clock)


def _found(manifest: VersionManifest, report: GateReport, clock: Clock) -> SecondLook:
    words = f"judged again on {report.events:,} clicks: "
    words += "it passed" if report.passed else "; ".join(report.reasons)
    return SecondLook(
        version=manifest.name, at=clock.now(), passed=report.passed, words=registry.one_line(words)
    )


def _acted(deployment: Deployment, found: SecondLook, *, live: str, clock: Clock) -> ServingState:
    root, name = deployment.versions_dir, found.version
    if found.passed:
        log.info("version_judged_again", version=name, found=found.words)
        return registry.looked_again(root, found)
    log.error("live_version_refused", version=name, found=found.words)
    try:
        return registry.roll_back_from(root, live, reason=found.words, clock=clock)
    except Refused as error:  # nothing was live before it
        log.warning("version_stays", version=name, reason=error.message)
        return registry.looked_again(root, found)
