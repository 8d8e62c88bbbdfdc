"""`publishing:`, versions and the gate."""

import hashlib
import json
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveInt

from twintide.config.section import Config, Share, Variable, secret_in

_ADDRESS = re.compile(r"https?://[^\s/@]+(:[0-9]{1,5})?")
_PREFIX = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
_SHAPES_NO_VERSION = {
    *("gate", "keep_versions", "keep_bytes", "statistics_every_minutes", "most_moved_ratio"),
    "milvus",  # but for where it is
}


def _address(uri: str) -> str:
    if not _ADDRESS.fullmatch(uri):
        raise ValueError(
            "is no address such as http://127.0.0.1:19530; a file of milvus-lite serves one "
            "process only: `milvus-lite server --data-dir DIR --port 19530` gives it an address"
        )
    return uri


def _prefix(name: str) -> str:
    if not _PREFIX.fullmatch(name):
        raise ValueError("must begin with a letter and hold letters, digits and _ only")
    return name


class GateConfig(Config):
    """What a version must show before it may be promoted."""

    min_events: PositiveInt = 200
    """With fewer newer clicks than this, recall is not judged (and the gate says so). A user and an
    item count once, a user ten times at most.
    """

    max_events: PositiveInt = 5_000
    """The newest clicks that are looked at."""

    k: PositiveInt = 100
    """Recall@k is what is compared."""

    max_recall_drop_ratio: Share = 0.2
    """A version whose recall falls by more than this share of the live version's is refused."""

    min_items_ratio: Share = 0.6
    """A version with fewer than this share of the live version's items is refused."""

    best_of: NonNegativeInt = 24
    """Recall is compared with the best of so many versions that were live before, too: what loses a
    little with each version is seen against it. 0: with the live one only.
    """

    min_list_ratio: Share = 0.2
    """A version that finds less than this share of what the last hour's most clicked items find,
    or less than twice what chance finds, is refused; the first one too.
    """

    min_index_recall: Share = 0.95
    """A version whose index finds less than this share of the k best items, of what an exact search
    finds, is refused.
    """

    max_top_share: Share = 0.5
    """A version that puts one item first for more than this share of users, or fills more than this
    share of their first ten places with ten items, is refused, unless that was usual or these are
    what users click most; of what they hardly click, half of it is enough.
    """

    min_coverage_ratio: Share = 0.4
    """A version whose first ten places show fewer than this share of the different items that those
    of the live version show is refused.
    """


class MilvusConfig(Config):
    """A Milvus that holds the item index. It needs `pip install "twintide[milvus]"`."""

    uri: Annotated[str, AfterValidator(_address)]
    """Its address, such as http://127.0.0.1:19530. Versions name it, so it should be one that
    stays.
    """

    prefix: Annotated[str, AfterValidator(_prefix)]
    """What its collections and the alias of the live one begin with. Of deployments that share one
    Milvus each has its own: what begins so and no version needs is dropped.
    """

    token_env: Variable | None = None
    """Name of the environment variable that holds `user:password` or an API key."""

    timeout_seconds: Annotated[float, Field(gt=0, le=600)] = 10.0
    """How long an answer may take before the Milvus counts as away."""

    @property
    def place(self) -> tuple[str, str]:
        """Where collections are, however that is reached."""
        return self.uri, self.prefix

    def token(self) -> str | None:
        """The token out of the environment. Raises Refused where the variable is not set."""
        return secret_in(self.token_env, key="publishing.milvus.token_env", what="token")


class PublishingConfig(Config):
    """Versions and the item index."""

    index: Literal["auto", "flat", "ivf"] = "auto"
    """`auto`: exact (flat) up to 20,000 items, an inverted file above."""

    milvus: MilvusConfig | None = None
    """Where the item index lies, instead of in a file of each version that servers map."""

    nprobe: PositiveInt | Literal["auto"] = "auto"
    """Lists that an inverted file looks into. `auto`: as few as find `index_recall`, measured on
    sample queries whenever a whole index is built.
    """

    index_recall: Share = 0.98
    """Share of the 100 best items that an inverted file is to find, of what an exact search finds.
    """

    moved_beyond: Share = 0.05
    """By how much of its length the vector of an item must have moved since the night, before an
    hour's index has the new one, where more than a tenth of them moved at all. 0: by anything.
    """

    most_moved_ratio: Share = 0.5
    """Share of the items that may have moved, or be new, before an hour builds a whole index anew;
    0: every hour does.
    """

    keep_versions: PositiveInt = 24
    """Versions that gc keeps of those that were live and that a rollback can go back to. Of the
    others (refused, held, rolled back from) it keeps the newest three.
    """

    statistics_every_minutes: Annotated[int, Field(ge=1, le=1440)] | None = None
    """How often the scheduler counts what is new and refreshes what is live with it: the weights of
    the last pass, with item statistics, histories and items of now. Statistics move when one of
    their buckets is over, which is the largest length that divides `refresh_minutes` and all
    windows. null: they move with each pass.
    """

    active_within_days: Annotated[int, Field(ge=1, le=3660)] | None = None
    """Items that no event was about for more days than this are not in the index, until one is. It
    needs `model.state.forget_items_after_days`, by which the days are counted, and is less. Without
    it all that are remembered and available are in it.
    """

    filters: tuple[str, ...] = ()
    """Event columns by which a request may filter items, such as [category]. Each is read by a
    `sparse` or `varlen` feature of the candidate: a filter and the model mean the same by it. Of a
    list an item is found by each of its values.
    """

    keep_bytes: PositiveInt | None = None
    """Bytes that all versions together may take; a file that several share counts once. Those that
    no rollback goes back to go first, of either the oldest. What is live, what a rollback goes back
    to, and what is pinned stays, whatever it takes. Without it they are not bounded by bytes.
    """

    gate: GateConfig = GateConfig()

    def publishing_hash(self) -> str:
        """sha256 of all that shapes a version of a checkpoint: its index, where that lies, its
        items and by what they are filtered. Not how it is judged, kept or reached.
        """
        parts = self.model_dump(mode="json", exclude=_SHAPES_NO_VERSION)
        parts["milvus"] = self.milvus and self.milvus.place
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def backend(self) -> str:
        """What holds and searches the item index."""
        return "faiss" if self.milvus is None else "milvus"
