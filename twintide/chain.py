"""Is a ledger sound? A fold over the footers of one topic, in whatever order they are found.

The shards of a partition must account for every offset between the oldest and the newest that is
there, once, each behind the very file that it names as the one before. Nothing here holds more
than the ends of unbroken runs, and mostly a partition has one run.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from twintide.shardfile import ShardFooter, Stamp


@dataclass(frozen=True)
class Link:
    """One shard of the chain, as far as its neighbours are concerned."""

    path: Path
    footer: ShardFooter
    stamp: Stamp | None
    """What its file is; None where nobody has looked."""

    has_come: bool = True
    """Whether its minute has; older programs let a producer's clock put shards into the future."""


@dataclass
class _Run:
    """Shards that follow on each other without a gap."""

    first: Link
    last: Link
    has_come: bool

    @property
    def start(self) -> int:
        return self.first.footer.after

    @property
    def end(self) -> int:
        return self.last.footer.next


@dataclass(frozen=True)
class Gap:
    """Offsets that no shard accounts for, between two that are there."""

    before: Link
    behind: Link

    @property
    def partition(self) -> int:
        return self.before.footer.partition

    @property
    def offsets(self) -> range:
        return range(self.before.footer.next, self.behind.footer.after)

    def __str__(self) -> str:
        return (
            f"offsets {self.offsets.start} to {self.offsets.stop - 1} of partition "
            f"{self.partition} are in no shard: {self.before.path} ends there, and the next one "
            f"that is there is {self.behind.path}"
        )


@dataclass
class Chains:
    """The chains of all partitions of a topic."""

    _runs: dict[int, list[_Run]] = field(default_factory=lambda: defaultdict(list))

    def add(self, link: Link) -> Iterator[str]:
        """Take a shard; what is wrong with it and its neighbours, but for gaps."""
        runs = self._runs[link.footer.partition]
        own = _Run(link, link, link.has_come)
        at = bisect_left(runs, own.start, key=lambda run: run.start)
        for other in runs[max(0, at - 1) : at + 1]:
            if own.start < other.end and other.start < own.end:
                yield (
                    f"shard {link.path} overlaps: the offsets from {max(own.start, other.start)} "
                    f"on are in others as well, see {other.last.path}"
                )
                return
        runs.insert(at, own)
        for left in (at, at - 1):
            if 0 <= left < len(runs) - 1 and runs[left].end == runs[left + 1].start:
                yield from _misfit(runs[left].last, runs[left + 1].first)
                right = runs.pop(left + 1)
                runs[left].last = right.last
                runs[left].has_come |= right.has_come

    def gaps(self) -> Iterator[Gap]:
        """Of all partitions. Behind shards that lie in the future none is missed: they stay where
        they are when the days around them are deleted.
        """
        for _, runs in sorted(self._runs.items()):
            for left, right in pairwise(runs):
                if left.has_come:
                    yield Gap(left.last, right.first)


def _misfit(before: Link, behind: Link) -> Iterator[str]:
    """Whether the one before is the file that the one behind has followed on."""
    named = behind.footer.before
    if named is None and behind.footer.format > 1:
        yield f"shard {behind.path} says that it is the first, but {before.path} lies before it"
    elif named is not None and before.stamp not in {None, named}:
        yield (
            f"shard {before.path} is not the file that was committed: it was edited or replaced "
            f"after {behind.path} followed on it"
        )
