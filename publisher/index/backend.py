"""What a backend is: it builds an index or goes on from one, says what a version keeps of it, and
opens what a version kept.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from publisher.attributes import Attributes
from publisher.index.searched import ItemIndex, Positions, Vectors
from publisher.tuning import Best
from twintide.arrays import Contents, Files
from twintide.checkpoints import CheckpointManifest
from twintide.config import MilvusConfig, PublishingConfig
from twintide.keys import Keys
from twintide.verified import Verified
from twintide.versions import IndexAt, VersionManifest


@dataclass(frozen=True)
class Wanted:
    """What is to be indexed, and how."""

    keys: Keys
    """uint64 [items], in index order."""

    vectors: Vectors
    """float32 [items, O · (D + 1)]"""

    asked: Vectors
    """float32 [Q, O · (D + 1)]: sample queries, on which recall is measured."""

    config: PublishingConfig
    moved: Positions | None = None
    """Ascending: of which items the vectors may differ from those that the base keeps, and the
    vectors are the backend's to change; None: of any of them.
    """

    attributes: Attributes = field(default_factory=dict)
    """By which it will be filtered."""

    @cached_property
    def best(self) -> Best:
        """What an exact search finds for the sample queries."""
        return Best.of(self.vectors, self.asked)


class Base(Protocol):
    """The index of an earlier version, which the next one may go on from."""

    @property
    def version(self) -> str:
        """Whose index it was first."""

    @property
    def keys(self) -> Keys:
        """uint64 [items]: of each vector its item; NO_KEY for one that has left since."""

    @property
    def as_of(self) -> str:
        """The version whose items and vectors these are."""

    def vectors(self, *, room: int = 0) -> Vectors:
        """float32 [items + room, O · (D + 1)], as the index keeps them, for the caller to change;
        behind them anything.
        """


Write = Callable[[Path], Files]


@dataclass(frozen=True)
class Indexed:
    """An index that no version has yet."""

    index: ItemIndex
    vectors: Vectors
    """float32 [items, O · (D + 1)], as they were to be indexed."""

    recall: float | None
    """Against the vectors of now; None of an exact one."""

    write: Write
    """Puts into the folder of a version what the version keeps of it."""

    index_of: str | None = None
    """The version whose index it goes on from."""

    at: IndexAt | None = None
    """Where it lies, if that is no file of the version."""


OwnBase = TypeVar("OwnBase", bound=Base)


class Backend(Protocol[OwnBase]):
    """Where vectors lie, and what searches them."""

    def base_of(
        self,
        root: Path,
        checkpoint: CheckpointManifest,
        config: PublishingConfig,
        *,
        verified: Verified,
    ) -> OwnBase | None:
        """The index that a version of this checkpoint may go on from; None for a night, and where
        there is none.
        """

    def base_in(
        self,
        root: Path,
        manifest: VersionManifest,
        config: PublishingConfig,
        *,
        verified: Verified,
    ) -> OwnBase | None:
        """The index that a refresh of this version may go on from; None where there is none."""

    def go_on(self, wanted: Wanted, base: OwnBase) -> Indexed | None:
        """An index of what is wanted that goes on from the base; None where it should not."""

    def index(self, wanted: Wanted, base: OwnBase | None) -> Indexed:
        """A whole index of what is wanted. What the base has learnt may be used again."""

    def open(self, manifest: VersionManifest, contents: Contents, *, items: int) -> ItemIndex:
        """What a version kept, of so many items. Raises Corrupt where it does not fit."""

    def made_live(self, at: IndexAt) -> None:
        """A version whose index lies there is live now."""

    def unneeded(
        self, config: MilvusConfig, *, known: Collection[str], needed: Collection[str]
    ) -> list[str]:
        """What lies there of this installation, whose versions name those that are known, but for
        those that are needed.
        """

    def drop(self, config: MilvusConfig, names: Sequence[str]) -> None:
        """Remove what is not needed."""
