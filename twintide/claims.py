"""How the next shard of a partition is committed, and how rivals agree on whose it is.

A claim is a hard link to a shard's file, and its name says where the chain stood: the `next` of the
shard before, a fixed name where there is none. So two owners of one partition reach for the same
name, whatever their configuration, whatever compaction or retention let each of them see, and the
exclusive link lets one of them win. The newest claim is where ingest goes on.
"""

import filecmp
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twintide.errors import Corrupt
from twintide.files import fsync_dir, hidden_file, link_once, remove_file

_KEPT = 2
"""Claims that stay: the newest, and the one before it for whoever has just listed both."""


@dataclass(frozen=True)
class Claims:
    """The claims of one partition of one topic."""

    folder: Path

    def newest_first(self) -> Sequence[Path]:
        """Mostly two."""
        if not self.folder.is_dir():
            return []
        return sorted((each for each in self.folder.iterdir() if each.name.isdigit()), reverse=True)

    def path(self, after: int | None) -> Path:
        """The claim of the shard behind offset `after`; None: of the first shard."""
        return self.folder / f"{after or 0:020d}"

    def commit(self, after: int | None, data: bytes, *, shown_as: Path) -> None:
        """Add the next shard of the chain and show it at the path `shown_as`.

        Raises FileExistsError where a rival was first: then nothing of `data` counts. After any
        other error it may count or not, and whoever looks at the newest claim knows.
        """
        claim = self.path(after)
        with hidden_file(claim, data) as hidden:  # 1. crash here: a hidden file, swept at start
            link_once(hidden, claim)  # 2. the commit. Crash after: rolled forward, see `show`
            if self.newest_first()[0].name > claim.name:
                # 3. We slept, others went on, and the name was free since they had pruned it.
                #    Crash before it is given back: an old claim, which nobody looks at.
                self._give_back(claim, hidden, shown_as)
            else:
                self.show(claim, shown_as)  # 4. crash before: rolled forward
        self._prune()  # 5. crash before: an old claim more, which nobody looks at

    def show(self, claim: Path, shown_as: Path) -> None:
        """Make a claim's shard visible. Safe to repeat, and for several at once.

        Only the newest claim may lack its visible file, since nobody claims a name behind it
        without having shown it first.
        """
        fsync_dir(self.folder)  # what is visible must never outlive its claim in a power cut
        try:
            link_once(claim, shown_as)
        except FileExistsError:
            if claim.exists() and not _hold_the_same(claim, shown_as):
                raise Corrupt(
                    f"{shown_as} is there already, and is not what {claim} has committed",
                    hint="did an older version of ingest run at the same time, or was the folder "
                    "restored? Move one of the two away, and ingest makes it anew from the other",
                ) from None
        except FileNotFoundError:
            if claim.exists():
                raise
            # Others have shown it, gone on, and pruned it.

    def adopt(self, shown_as: Path, *, after: int) -> Path:
        """Claim a shard that has none: of format 1, or of a folder copied without its ledger."""
        claim = self.path(after)
        with suppress(FileExistsError):
            link_once(shown_as, claim)
        return claim

    def _give_back(self, claim: Path, hidden: Path, shown_as: Path) -> None:
        """A claim that is not the newest is either an intruder, or was shown by those who went on
        behind it, so that it is ours and counts.
        """
        if _are_one(claim, hidden):
            remove_file(claim)
        if not _are_one(shown_as, hidden):
            raise FileExistsError(f"others have gone on behind {claim.name}")

    def _prune(self) -> None:
        for old in self.newest_first()[_KEPT:]:
            remove_file(old)


def _hold_the_same(one: Path, other: Path) -> bool:
    return _are_one(one, other) or filecmp.cmp(one, other, shallow=False)


def _are_one(one: Path, other: Path) -> bool:
    """Whether both are names of the same file."""
    try:
        return one.samefile(other)
    except FileNotFoundError:
        return False
