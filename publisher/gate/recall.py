"""What a version answers to clicks, and which of these it finds."""

from typing import Protocol

import pyarrow as pa

from publisher import samples
from publisher.gate.difference import Bools
from publisher.index.searched import ItemIndex, Positions, Scores
from twintide.features import Feature
from twintide.features.columns import from_columns
from twintide.features.kind import LookedUp
from twintide.keys import Keys
from twintide.modelspec import ModelSpec
from twintide.ragged import Encoded


class Answering(Protocol):
    """A draft, or a version that was loaded."""

    @property
    def model(self) -> samples.Model: ...
    @property
    def index(self) -> ItemIndex: ...
    @property
    def item_keys(self) -> Keys: ...
    def search(self, encoded: Encoded, k: int) -> tuple[Scores, Positions]: ...


def can_be_asked(rival: ModelSpec, own: ModelSpec) -> bool:
    """Whether a version can answer clicks that were encoded for another model: what it reads of
    them is there, and means the same.
    """
    mine = {feature.name: feature for feature in own.query}
    return all(each.name in mine and _reads_the_same(each, mine[each.name]) for each in rival.query)


def _reads_the_same(one: Feature, other: Feature) -> bool:
    sequences = [each.sequence() if isinstance(each, LookedUp) else None for each in (one, other)]
    return one.meaning() == other.meaning() and sequences[0] == sequences[1]


def lists(version: Answering, clicks: pa.Table, *, k: int) -> Keys:
    """uint64 [clicks, k]: what it answers, best first, each with the history as of the click; 0
    where there is nothing more.
    """
    encoded = from_columns(clicks, version.model.spec.query, "query")
    _, positions = version.search(encoded, min(k, version.index.items))
    return samples.keys_at(version.item_keys, positions)


def found(answered: Keys, items: Keys) -> Bools:
    """[clicks]: whether the clicked item is in the list."""
    is_found: Bools = (answered == items[:, None]).any(axis=1)
    return is_found


def hits(version: Answering, clicks: pa.Table, items: Keys, *, k: int) -> Bools:
    """[clicks]: whether the clicked item is among the k best."""
    return found(lists(version, clicks, k=k), items)
