"""What is live: promote, rollback, hold, release; and what stays: pin, unpin.

Each is a pure step from one serving state to the next; `change` applies a step under a lock and
moves the pointer file last. Rolling back needs no trainer, no Kafka and no rebuild, and holds
automatic promotion until `release`.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from publisher.elsewhere import name_live
from twintide.clock import Clock
from twintide.errors import Corrupt, Refused, Retryable, TwintideError, Unknown
from twintide.files import exclusive_lock, publish_file
from twintide.verified import Verified
from twintide.versions import (
    MOVES,
    STATE,
    Change,
    Hold,
    Pin,
    SecondLook,
    ServingState,
    VersionManifest,
    judged_live,
    open_vectors,
    read_state,
    read_version_manifest,
    version_names,
)

LOCK = ".state.lock"
PUBLISHER_LOCK = ".publisher.lock"
"""Held by whoever makes or removes versions; taken before the state's lock."""

KEPT_CHANGES = 1_000
"""Changes that the state file remembers; servers read it at every change. Of more, those go first
that say nothing of what was live.
"""

MAX_REASON_CHARACTERS = 1_000

_LOCK_WAIT_SECONDS = 30.0

Step = Callable[[ServingState], ServingState]


def promote(
    root: Path, name: str, *, clock: Clock, reason: str = "", verified: Verified | None = None
) -> ServingState:
    """Make a version live. Raises Refused on hold, and where it is unknown or did not pass its
    gate; Corrupt where it is damaged.
    """
    known = verified or Verified()
    _look_ahead(root, name, known)

    def step(state: ServingState) -> ServingState:
        after = promoted(state, name, at=clock.now(), reason=reason)
        check_servable(root, name, verified=known)
        return after

    return _named(root, change(root, step, who="promote"))


def refresh(
    root: Path,
    name: str,
    *,
    of: str,
    clock: Clock,
    reason: str = "",
    verified: Verified | None = None,
) -> ServingState:
    """Let a version take the place of the one `of` whose weights it has. Raises Refused on hold,
    where other weights are live by now, and as `promote`.
    """
    known = verified or Verified()
    _look_ahead(root, name, known)

    def step(state: ServingState) -> ServingState:
        after = refreshed(state, name, of=of, at=clock.now(), reason=reason)
        check_servable(root, name, verified=known)
        return after

    return _named(root, change(root, step, who="refresh"))


def _look_ahead(root: Path, name: str | None, verified: Verified) -> None:
    """Hash what a step is going to check, before anybody waits for it: under the lock of the state
    a file is hashed only if it was written to since. What is wrong is the step's to say.
    """
    if name is not None:
        with suppress(TwintideError, OSError):
            check_files(root, name, verified=verified)


def rollback(root: Path, *, to: str | None = None, reason: str, clock: Clock) -> ServingState:
    """Serve an earlier version again, and hold automatic promotion.

    Without `to`: what was live before the live version was promoted, of what is there still; a
    second rollback goes one further back, never forth. Raises Refused where there is nothing to go
    back to, or where the version is unknown, damaged or already live; then nothing changes.
    """
    _check_reason(reason)
    known = Verified()
    with suppress(TwintideError, OSError):  # as well
        _look_ahead(root, to or _target_there(root, read_state(root)), known)

    def step(state: ServingState) -> ServingState:
        target = to or _target_there(root, state)
        after = rolled_back(state, target, at=clock.now(), reason=reason)
        _check_target(root, after.current or "", known)
        return after

    return _named(root, change(root, step, who="rollback"))


def _target_there(root: Path, state: ServingState) -> str | None:
    target, was_before = target_among(version_names(root), state), rollback_target(state)
    if target is None and was_before is not None:
        raise Refused(
            f"there is nothing to go back to: {was_before}, which was live before, is gone",
            hint="`twintide versions -c FILE` lists them; `rollback --to VERSION` names one",
        )
    return target


def live_manifest(root: Path, state: ServingState) -> VersionManifest | None:
    """Of what is live; None where nothing is, or it cannot be read."""
    with suppress(Corrupt, Refused):
        return read_version_manifest(root, state.current) if state.current else None
    return None


def _named(root: Path, state: ServingState) -> ServingState:
    name_live(live_manifest(root, state))
    return state


def roll_back_from(root: Path, bad: str, *, reason: str, clock: Clock) -> ServingState:
    """Go back from a version that fails, to the one that was live before it; of several that ask at
    once, one does. Raises Refused where it is not live, or not by a promotion, and as `rollback`.
    """
    known = Verified()
    with suppress(TwintideError, OSError):
        _look_ahead(root, way_back(read_state(root), bad), known)

    def step(state: ServingState) -> ServingState:
        target = way_back(state, bad)
        after = rolled_back(state, target, at=clock.now(), reason=reason)
        _check_target(root, after.current or "", known)
        return after

    return change(root, step, who="rollback")


def looked_again(root: Path, found: SecondLook) -> ServingState:
    """Note what a second look at the live version found."""
    return change(root, lambda state: with_second_look(state, found), who="judge")


def hold(root: Path, *, reason: str, clock: Clock) -> ServingState:
    """Stop automatic promotion. Versions are still built, judged and kept."""
    _check_reason(reason)
    return change(root, lambda state: held(state, at=clock.now(), reason=reason), who="hold")


def release(root: Path, *, clock: Clock, reason: str = "") -> ServingState:
    """Allow automatic promotion again; the next publish promotes. Raises Refused without a hold."""
    return change(root, lambda state: released(state, at=clock.now(), reason=reason), who="release")


def pin(root: Path, name: str, *, reason: str, clock: Clock) -> ServingState:
    """Let gc keep a version, whatever else it keeps. Raises Refused where there is none of that
    name, Corrupt where its manifest is damaged.
    """
    _check_reason(reason)

    def step(state: ServingState) -> ServingState:
        read_version_manifest(root, name)
        return pinned(state, name, at=clock.now(), reason=reason)

    return change(root, step, who="pin")


def unpin(root: Path, name: str, *, clock: Clock, reason: str = "") -> ServingState:
    """Let gc take a version when its turn comes. Raises Refused where it is not pinned."""
    return change(
        root, lambda state: unpinned(state, name, at=clock.now(), reason=reason), who="unpin"
    )


def promoted(state: ServingState, name: str, *, at: datetime, reason: str = "") -> ServingState:
    """Raises Refused on hold, and where it is live already."""
    _check_not_held(state)
    if name == state.current:
        raise Refused(f"version {name} is live already", hint="`twintide versions` lists them all")
    moved = state.model_copy(update={"current": name, "previous": state.current})
    return _recorded(moved, "promote", at=at, reason=reason)


def refreshed(
    state: ServingState, name: str, *, of: str, at: datetime, reason: str = ""
) -> ServingState:
    """What a rollback goes back to stays, and the history remembers the newest refresh alone: there
    may be one each minute. Raises Refused on hold, and where other weights than those of the
    version `of` are live.
    """
    _check_not_held(state)
    if judged_live(state) != of:
        raise Refused(
            f"version {name} has the weights of {of}, which is not live any more",
            hint="`twintide versions` lists them all",
        )
    is_again = bool(state.history) and state.history[-1].action == "refresh"
    history = state.history[:-1] if is_again else state.history
    moved = state.model_copy(update={"current": name, "history": history})
    return _recorded(moved, "refresh", at=at, reason=reason)


def _check_not_held(state: ServingState) -> None:
    if state.hold is not None:
        raise Refused(
            f"promotion is on hold since {state.hold.since}: {state.hold.reason}",
            hint="`twintide release -c FILE` lifts the hold",
        )


def rolled_back(
    state: ServingState, target: str | None, *, at: datetime, reason: str
) -> ServingState:
    """Raises Refused where there is no target, or where it is live already."""
    if target is None:
        raise Refused(
            "there is nothing to go back to: no version was live before this one"
            if state.current
            else "there is nothing to go back to: no version was ever live",
            hint="`twintide versions -c FILE` lists them; `rollback --to VERSION` names one",
        )
    if target == state.current:
        raise Refused(
            f"version {target} is live already, so there is nothing to roll back",
            hint="`twintide hold -c FILE --reason TEXT` stops automatic promotion alone",
        )
    moved = state.model_copy(
        update={
            "current": target,
            "previous": state.current,
            "hold": Hold(
                reason=f"rolled back from {state.current or 'nothing'}: {reason}", since=at
            ),
        }
    )
    return _recorded(moved, "rollback", at=at, reason=reason)


def held(state: ServingState, *, at: datetime, reason: str) -> ServingState:
    """Where it is on hold already, the newer reason stands."""
    on_hold = state.model_copy(update={"hold": Hold(reason=reason, since=at)})
    return _recorded(on_hold, "hold", at=at, reason=reason)


def released(state: ServingState, *, at: datetime, reason: str = "") -> ServingState:
    """Raises Refused where nothing is on hold."""
    if state.hold is None:
        raise Refused(
            "promotion is not on hold, so there is nothing to release",
            hint="`twintide publish -c FILE` promotes the newest checkpoint",
        )
    return _recorded(state.model_copy(update={"hold": None}), "release", at=at, reason=reason)


def pinned(state: ServingState, name: str, *, at: datetime, reason: str) -> ServingState:
    """Where it is pinned already, the newer reason stands."""
    pins = state.pins | {name: Pin(reason=reason, since=at)}
    kept = state.model_copy(update={"pins": pins})
    return _recorded(kept, "pin", at=at, reason=reason, version=name)


def unpinned(state: ServingState, name: str, *, at: datetime, reason: str = "") -> ServingState:
    """Raises Refused where it is not pinned."""
    if name not in state.pins:
        raise Refused(
            f"version {name} is not pinned, so there is nothing to unpin",
            hint="`twintide versions -c FILE` shows which are",
        )
    pins = {other: pin for other, pin in state.pins.items() if other != name}
    freed = state.model_copy(update={"pins": pins})
    return _recorded(freed, "unpin", at=at, reason=reason, version=name)


def with_second_look(state: ServingState, found: SecondLook) -> ServingState:
    """Raises Refused where it is not live any more."""
    if found.version not in {state.current, judged_live(state)}:
        raise Refused(
            f"version {found.version} is not live any more, so nothing was noted",
            hint="`twintide versions` lists them all",
        )
    noted = state.model_copy(update={"second_look": found})
    return _recorded(noted, "judge", at=found.at, reason=found.words, version=found.version)


def rollback_target(state: ServingState) -> str | None:
    """What a rollback without `--to` goes back to; None where nothing was live before.

    Promotions pile up; a rollback takes off all that lies above its target. So it is the version
    below the live one, and a rolled-back version is not come back to.
    """
    return next(_below(state), None)


def target_among(there: Collection[str], state: ServingState) -> str | None:
    """The same of these versions: where gc took the one, the next below it."""
    return next((name for name in _below(state) if name in there), None)


def _below(state: ServingState) -> Iterator[str]:
    """What was live before the live version, the last first."""
    pile = live_pile(state)
    return (name for name in reversed(pile[:-1]) if name != pile[-1])


def way_back(state: ServingState, bad: str) -> str:
    """What a program goes back to from a version that fails. It takes one step and no more, and
    none against an operator: what is live by a rollback stays. Raises Refused where there is none.
    """
    if state.current != bad or not was_promoted_last(state):
        raise Refused(
            f"version {bad} is not live by a promotion, so no program goes back from it",
            hint="a person may",
        )
    target = rollback_target(state)
    if target is None:
        raise Refused(
            f"version {bad} fails, and no version was live before it",
            hint="publish another one",
        )
    return target


def was_promoted_last(state: ServingState) -> bool:
    """Whether what is live is so by a promotion, and not by a rollback."""
    moves = [made for made in state.history if made.action in MOVES]
    return bool(moves) and moves[-1].action == "promote"


def before_the_last(state: ServingState) -> ServingState:
    """As if the live version, which was promoted last, had not been: what it is held against."""
    last = max(place for place, made in enumerate(state.history) if made.action == "promote")
    return state.model_copy(
        update={"current": rollback_target(state), "history": state.history[:last]}
    )


def live_pile(state: ServingState) -> list[str]:
    """The versions that were live one after the other, without those rolled back from."""
    pile: list[str] = []
    for made in state.history:
        if made.action not in MOVES or made.current is None:
            continue
        if made.action == "rollback" and made.current in pile:
            del pile[pile.index(made.current) :]
        pile.append(made.current)
    return pile


def change(root: Path, step: Step, *, who: str) -> ServingState:
    """Apply a step to the state of the moment: one at a time, whoever else wants to.

    A step that raises changes nothing; a crash leaves the state before or the state after. Raises
    Retryable where the disk refuses, Unknown where it does so when the pointer has moved.
    """
    with (
        said_of_the_disk(root, who=who),
        exclusive_lock(root / LOCK, who=who, wait_seconds=_LOCK_WAIT_SECONDS),
    ):
        after = step(read_state(root))  # 1. nobody else can change what was read
        try:
            publish_file(root / STATE, after.to_json())  # 2. the pointer moves
        except OSError as error:
            if read_state(root) == after:
                raise Unknown(
                    f"the {who} is done, but a crash now might undo it: {error.strerror}",
                    hint="`twintide versions -c FILE` shows what is live; see to the disk",
                ) from error
            raise
    return after


@contextmanager
def said_of_the_disk(root: Path, *, who: str) -> Iterator[None]:
    """What the system refuses below `root` while the block runs is Retryable, and named."""
    try:
        yield
    except OSError as error:
        raise Retryable(
            f"the {who} changed nothing, since {error.filename or root} cannot be written or read: "
            f"{error.strerror or error}",
            hint=f"see to the room and the rights of {root}, then try again",
        ) from error


def check_servable(root: Path, name: str, *, verified: Verified | None = None) -> VersionManifest:
    """Every byte of it is as it was written, and its gate let it pass.

    Raises Refused or Corrupt where not.
    """
    manifest = check_files(root, name, verified=verified)
    if not manifest.gate.passed:
        raise Refused(
            f"the gate refused version {name}: {'; '.join(manifest.gate.reasons)}",
            hint=f"`twintide show {name} -c FILE` shows what it found",
        )
    return manifest


def check_files(root: Path, name: str, *, verified: Verified | None = None) -> VersionManifest:
    """The manifest of a version whose every file is as it was written, and whose vectors are there.
    Raises Refused where there is no such version, Corrupt where it is damaged.
    """
    manifest = read_version_manifest(root, name)
    if (root / name).is_symlink():
        raise Corrupt(f"{root / name} is a symbolic link, not a version")
    (verified or Verified()).check(root / name, manifest.files)
    open_vectors(root, manifest)
    return manifest


def one_line(words: str) -> str:
    """As a reason may be: what does not fit is cut off."""
    return " ".join(words.split())[:MAX_REASON_CHARACTERS]


def _check_reason(reason: str) -> None:
    """Who reads the history in a year must learn something from it."""
    if not reason.strip() or not reason.isprintable() or len(reason) > MAX_REASON_CHARACTERS:
        raise Refused(
            "the reason is empty"
            if not reason.strip()
            else f"a reason is one line of at most {MAX_REASON_CHARACTERS} printable characters",
            hint='say why, such as --reason "CTR fell by half"',
        )


def _check_target(root: Path, name: str, verified: Verified) -> None:
    try:
        check_servable(root, name, verified=verified)
    except (Refused, Corrupt) as error:
        raise Refused(
            f"cannot go back to {name}: {error.message}",
            hint="`twintide versions -c FILE` lists them; `rollback --to VERSION` names another",
        ) from error


def _recorded(
    state: ServingState, action: str, *, at: datetime, reason: str, version: str | None = None
) -> ServingState:
    generation = state.generation + 1
    made = Change.model_validate(
        {
            "generation": generation,
            "at": at,
            "action": action,
            "current": state.current,
            "reason": reason,
            "version": version,
        }
    )
    history = (*_remembered(state.history, most=KEPT_CHANGES - 1), made)
    return state.model_copy(update={"generation": generation, "history": history})


def _remembered(history: tuple[Change, ...], *, most: int) -> tuple[Change, ...]:
    """The oldest of the other changes are forgotten first, then those of what was live."""
    by_worth = sorted(range(len(history)), key=lambda place: history[place].action in MOVES)
    forgotten = set(by_worth[: max(0, len(history) - most)])
    return tuple(made for place, made in enumerate(history) if place not in forgotten)
