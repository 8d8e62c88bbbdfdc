"""Count what is new, without learning it: the derived state beyond the live version's checkpoint.

Item statistics, histories and the catalogue move on with every click, and a version may carry those
of now beside the weights of the last pass. Nothing of it is seen by training: no slice is made, no
checkpoint changes, and the next pass takes in the same clicks itself, from where it stands.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trainer.publishing import check_finite
from trainer.reading import ShardReader, first_units, ranges_of
from trainer.run import newest_click
from trainer.units import sealed_until
from twintide.behind import Found
from twintide.checkpoints import CheckpointManifest, OpenCheckpoint, open_checkpoint
from twintide.clock import Clock, floor_to_minutes, from_unix_ms, iso
from twintide.config import Deployment
from twintide.counted import (
    CountManifest,
    Stand,
    count_names,
    counts_beyond,
    counts_dir,
    newest_count,
    number_of,
    open_count,
    publish_count,
)
from twintide.derived.state import DerivedState
from twintide.errors import Corrupt, Refused
from twintide.events import EARLIEST_MS
from twintide.files import exclusive_lock, remove_folder, sweep_temporaries
from twintide.records import Counted
from twintide.slices import Ends, chain_dir, offsets_of, read_tail
from twintide.telemetry import get_log
from twintide.versions import read_state, read_version_manifest

log = get_log("trainer")

KEPT = 2
"""Counts that stay: of the one before the newest a version may just be made."""


@dataclass(frozen=True)
class CountOutcome:
    """What a count did. Without a manifest there was nothing new, and `why` says so."""

    count: CountManifest | None
    why: str


@dataclass
class _Begun:
    """What a count goes on from, and how far it has come."""

    learnt: CheckpointManifest
    state: DerivedState
    ends: Ends
    stand: Stand
    number: int
    as_of: datetime | None
    newest_event_at: datetime | None
    events: int


def count(deployment: Deployment, *, clock: Clock) -> CountOutcome:
    """Take in everything sealed that the newest count of the live version's checkpoint has not.

    Raises Refused where nothing is live, Retryable while another count is at work.
    """
    checkpoints = deployment.checkpoints_dir
    root = counts_dir(checkpoints)
    with exclusive_lock(root / ".lock", who="counting", wait_seconds=0.2):
        sweep_temporaries(root, older_than_seconds=0)  # 1. what a count left that was killed
        begun = _begun(deployment, _live_checkpoint(deployment))
        before = offsets_of(begun.ends)
        model = begun.learnt.model
        reader = ShardReader.of(deployment, begun.learnt.events, model, clock=clock)
        until = floor_to_minutes(sealed_until(reader.ledger, now=clock.now(), clock=clock), 1)
        _take_in(begun, reader, until)  # 2. in memory
        as_of = _latest(begun.as_of, begun.state.settled_instant(until))
        is_older = model.item_statistics() is not None and as_of != begun.as_of
        if offsets_of(begun.ends) == before and not is_older:
            return CountOutcome(None, f"nothing new before {iso(until)}")
        check_finite(begun.state.parts())
        made = publish_count(  # 3. a count, which no version is made of yet
            checkpoints, begun.learnt, begun.state, _unnamed(begun, as_of), stand=begun.stand
        )
        log.info("counted", count=made.name, events=made.events, as_of=str(as_of))
        for name in _superseded(checkpoints, made.checkpoint):  # 4. others go
            remove_folder(root / name)
        return CountOutcome(made, f"counted {made.events:,} events beyond {made.checkpoint}")


def _live_checkpoint(deployment: Deployment) -> str:
    state = read_state(deployment.versions_dir)
    if state.current is None:
        raise Refused(
            "no version is live, so there is none whose statistics could be counted further",
            hint="`twintide publish -c FILE` makes one",
        )
    return read_version_manifest(deployment.versions_dir, state.current).checkpoint


def _begun(deployment: Deployment, name: str) -> _Begun:
    checkpoints = deployment.checkpoints_dir
    opened = open_checkpoint(checkpoints, name)
    learnt = opened.manifest
    if opened.catalogue is not None:
        raise Refused(
            f"checkpoint {name} was made by an older program, and nothing is counted beyond it",
            hint="`twintide train hourly -c FILE` makes one that is; then publish that",
        )
    try:
        if newest := newest_count(checkpoints, name):
            return _goes_on(opened, newest, open_count(checkpoints, newest), deployment)
    except Corrupt as error:  # nothing is lost with it
        log.warning("damaged_count_passed_over", reason=error.message)
    return _Begun(
        learnt,
        opened.state(learnt.model),
        _ends_of(deployment, learnt),
        Stand(checkpoints / name, learnt.stores, learnt.files),
        1 + max(map(number_of, counts_beyond(checkpoints, name)), default=0),
        learnt.as_of,
        learnt.newest_event_at,
        0,
    )


def _goes_on(
    opened: OpenCheckpoint, newest: CountManifest, counted: OpenCheckpoint, deployment: Deployment
) -> _Begun:
    own = newest.counted
    return _Begun(
        opened.manifest,
        counted.state(opened.manifest.model),
        {each: (next_, newest.units[each]) for each, next_ in own.position.items()},
        Stand(counts_dir(deployment.checkpoints_dir) / newest.name, newest.stores, newest.files),
        own.number + 1,
        own.as_of,
        own.newest_event_at,
        newest.events,
    )


def _ends_of(deployment: Deployment, learnt: CheckpointManifest) -> Ends:
    """Where a checkpoint stands, with the minute before that, as far as slices say so."""
    root = chain_dir(deployment.slices_dir, learnt.events, learnt.model)
    tail = read_tail(root, learnt.position)
    units = {each: unit for each, (_, unit) in (tail.starts or {}).items()}
    for slice_ in tail.slices:
        came = slice_.came_to.items()
        units |= {p: unit for p, (next_, unit) in came if next_ <= learnt.position.get(p, 0)}
    earliest = from_unix_ms(EARLIEST_MS)
    return {each: (next_, units.get(each, earliest)) for each, next_ in learnt.position.items()}


def _take_in(begun: _Begun, reader: ShardReader, until: datetime) -> None:
    """What shards hold behind where it stands, hour by hour, as slices of it would be folded in."""
    for _, hour in sorted(reader.behind(begun.ends, until=until).items()):
        for found in _pieces(hour):
            events = reader.read(found)
            rows = reader.enriched(begun.state, reader.learnable(events), reader.remembered(events))
            begun.events += len(rows)
            begun.newest_event_at = _latest(begun.newest_event_at, newest_click(rows))
            units = {each.name.partition: each.minute_at for each in found}
            begun.ends |= {p: (next_, units[p]) for p, (_, next_) in ranges_of(found).items()}


def _pieces(hour: list[Found]) -> Iterator[list[Found]]:
    """As many as are in memory at once."""
    begin = 0
    while begin < len(hour):
        end = begin + first_units(hour[begin:])
        yield hour[begin:end]
        begin = end


def _unnamed(begun: _Begun, as_of: datetime | None) -> CountManifest:
    counted = Counted(
        number=begun.number,
        position=offsets_of(begun.ends),
        newest_event_at=begun.newest_event_at,
        as_of=as_of,
    )
    return CountManifest(
        checkpoint=begun.learnt.name,
        counted=counted,
        units={each: unit for each, (_, unit) in begun.ends.items()},
        events=begun.events,
        stores={},
        files={},
    )


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)


def _superseded(checkpoints: Path, checkpoint: str) -> list[str]:
    """Counts of other checkpoints, and of this one the older ones."""
    kept = counts_beyond(checkpoints, checkpoint)[-KEPT:]
    return [each for each in count_names(checkpoints) if each not in kept]
