"""Items that must not be in any answer, from now on: `blocked.json` beside the versions.

An item that is delisted or against the law is gone as soon as servers have looked, which is within
seconds: no version is built for it, and none brings it back. The list stays until it is said that
an item may be answered again.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from twintide.clock import Clock
from twintide.errors import Corrupt, Refused
from twintide.files import exclusive_lock, make_folder, publish_file
from twintide.keys import Keys, key_of
from twintide.records import Instant, Record, Sealed

BLOCKED = "blocked.json"
_LOCK = ".blocked.lock"
"""It stays, and says that there was a list once."""

MOST_BLOCKED = 100_000
"""What is this long should not be listed among the items at all."""

ItemId = Annotated[int, Field(ge=-(2**63), lt=2**63)] | str


class Blocked(Record):
    """One item that must not be answered."""

    item: ItemId
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    since: Instant


class Blocklist(Sealed):
    """All of them, in the order in which they were blocked."""

    format: Literal[1] = 1
    items: Annotated[tuple[Blocked, ...], Field(max_length=MOST_BLOCKED)] = ()

    def keys(self) -> Keys:
        """uint64 [n]"""
        return np.array([key_of(each.item) for each in self.items], np.uint64)


def read_blocklist(root: Path) -> Blocklist:
    """What is blocked of the versions in this folder. Raises Corrupt where that cannot be told, as
    where there was a list once and is none any more.
    """
    if not (root / BLOCKED).exists() and (root / _LOCK).exists():
        raise Corrupt(
            f"{root / BLOCKED} has gone, and something may have been blocked",
            hint="bring it back; or block an item anew, which begins a list",
        )
    return _blocklist_or_none(root)


def _blocklist_or_none(root: Path) -> Blocklist:
    path = root / BLOCKED
    try:
        return Blocklist.from_json(path.read_bytes(), name=str(path))
    except FileNotFoundError:
        return Blocklist()


def block(root: Path, items: Sequence[ItemId], *, reason: str, clock: Clock) -> Blocklist:
    """Let these items be in no answer any more. What is blocked already stays as it was."""
    if not reason.strip():
        raise Refused("to block an item needs a reason", hint='--reason "withdrawn by the maker"')

    def step(before: Blocklist) -> Blocklist:
        known = {each.item for each in before.items}
        new = [item for item in dict.fromkeys(items) if item not in known]
        if len(known) + len(new) > MOST_BLOCKED:
            raise Refused(
                f"{len(known) + len(new):,} items would be blocked; {MOST_BLOCKED:,} is the most",
                hint="leave what is for good out of the source of items, then unblock it",
            )
        now = clock.now()
        added = tuple(Blocked(item=item, reason=reason, since=now) for item in new)
        return Blocklist(items=before.items + added)

    return _change(root, step)


def unblock(root: Path, items: Sequence[ItemId]) -> Blocklist:
    """Let these items be in answers again. Raises Refused where one is not blocked."""

    def step(before: Blocklist) -> Blocklist:
        strangers = set(items) - {each.item for each in before.items}
        if strangers:
            shown = ", ".join(repr(each) for each in sorted(strangers, key=str))[:200]
            raise Refused(f"not blocked: {shown}", hint="`twintide blocked -c FILE` lists them")
        return Blocklist(items=tuple(one for one in before.items if one.item not in set(items)))

    return _change(root, step)


def _change(root: Path, step: Callable[[Blocklist], Blocklist]) -> Blocklist:
    make_folder(root)
    is_first = not (root / _LOCK).exists()
    with exclusive_lock(root / _LOCK, who="block", wait_seconds=10.0):
        before = _blocklist_or_none(root)
        if is_first:  # so that where there is a lock, there is a list
            publish_file(root / BLOCKED, before.to_json())
        after = step(before)
        if after != before:
            publish_file(root / BLOCKED, after.to_json())
    return after
