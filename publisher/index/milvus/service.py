"""A Milvus, as it is spoken to: what it refuses and that it is away have our own words.

Nothing else here imports pymilvus, and this module does not before it connects: who has no Milvus
needs no client for it.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any, Literal

from publisher.index.milvus.columns import MOST_KEYS
from twintide.config import MilvusConfig
from twintide.errors import Corrupt, Refused, Retryable, words_of

_UNLOADED = ("not loaded", "released")
_GONE = ("not found", "not exist", "can't find")
MOST_ROWS = 2_000
"""Of one message, which Milvus wants to be smaller than 64 MB."""


Reads = Literal["Strong", "Bounded"]
"""Strong: all that was written before. Bounded: without waiting for that of the last seconds."""


class _NotLoaded(Retryable):
    """A collection is there, and not in memory."""


class Service:
    """One connection."""

    def __init__(self, config: MilvusConfig) -> None:
        self.config = config
        self._library = _imported()
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises
        with self._spoken():
            self._client = self._library.MilvusClient(
                uri=config.uri, token=config.token() or "", timeout=config.timeout_seconds
            )

    def collections(self) -> list[str]:
        """Those of this installation: a prefix may begin as that of another one does."""
        with self._spoken():
            names = self._client.list_collections(timeout=self.config.timeout_seconds)
        own = re.compile(rf"{self.config.prefix}_[0-9]{{6}}")
        return sorted(filter(own.fullmatch, names))

    def create(
        self, name: str, *, width: int, numbers: Sequence[str], lists: Sequence[str]
    ) -> None:
        """An empty collection: rows of an item, each visible from one epoch until another, and what
        is told of it in fields of numbers and of lists of these.
        """
        kinds, client = self._library.DataType, self._client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("row", kinds.INT64, is_primary=True)
        schema.add_field("item", kinds.INT64)
        schema.add_field("since", kinds.INT64)
        schema.add_field("until", kinds.INT64)
        for field in numbers:
            schema.add_field(field, kinds.INT64)
        for field in lists:
            schema.add_field(field, kinds.ARRAY, element_type=kinds.INT64, max_capacity=MOST_KEYS)
        schema.add_field("vector", kinds.FLOAT_VECTOR, dim=width)
        with self._spoken():
            client.create_collection(name, schema=schema, consistency_level="Strong")

    def build(self, name: str, *, lists: int) -> None:
        """Index what was written and let it be searched. Only then is recall that of the index:
        what is not indexed yet Milvus compares one by one.
        """
        kind: dict[str, Any] = {"index_type": "FLAT"}
        if lists > 1:
            kind = {"index_type": "IVF_FLAT", "params": {"nlist": lists}}
        told = self._client.prepare_index_params()
        told.add_index("vector", metric_type="IP", **kind)
        with self._spoken(name):
            self._client.flush(name, timeout=self._patience)
            self._client.create_index(name, told, timeout=self._patience)  # waits until it is built
        self.load(name)

    def add(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows, of at most one message."""
        with self._spoken(name):
            self._client.insert(name, rows, timeout=self._patience)

    def put(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write rows in place of those of the same number, of at most one message."""
        with self._spoken(name):
            self._client.upsert(name, rows, timeout=self._patience)

    def take_away(self, name: str, which: str) -> None:
        """Delete rows."""
        with self._spoken(name):
            self._client.delete(name, filter=which, timeout=self._patience)

    def rows(self, name: str, which: str, fields: Sequence[str]) -> list[dict[str, Any]]:
        """Read rows, all of those that fit."""
        with self._spoken(name):
            walk = self._client.query_iterator(
                name, batch_size=MOST_ROWS, filter=which, output_fields=list(fields)
            )
            found: list[dict[str, Any]] = []
            while batch := walk.next():
                found += map(dict, batch)
            walk.close()
        return found

    def count(self, name: str) -> int:
        """How many rows a collection has."""
        with self._spoken(name):
            found = self._client.query(name, filter="", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def settle(self, name: str) -> None:
        """All that was written is searched from now on."""
        with self._spoken(name):
            self._client.flush(name, timeout=self._patience)
        self.load(name)

    def search(
        self, name: str, queries: Any, k: int, *, which: str, probes: int, reads: Reads
    ) -> list[list[dict[str, Any]]]:
        """The k best rows of each query, best first."""
        asked = partial(self._search, name, queries, k, which=which, probes=probes, reads=reads)
        try:
            return asked()
        except _NotLoaded:  # it was started again
            self.load(name)
            return asked()

    def load(self, name: str) -> None:
        """Let a collection be searched."""
        with self._spoken(name):
            self._client.load_collection(name, timeout=self._patience)

    def _search(
        self, name: str, queries: Any, k: int, *, which: str, probes: int, reads: Reads
    ) -> list[list[dict[str, Any]]]:
        with self._spoken(name):
            found = self._client.search(
                name,
                queries,
                anns_field="vector",
                limit=k,
                filter=which,
                search_params={"metric_type": "IP", "params": {"nprobe": probes}},
                output_fields=["item"],
                consistency_level=reads,
                timeout=self.config.timeout_seconds,
            )
        return [list(each) for each in found]

    def has(self, name: str) -> bool:
        """Whether there is such a collection."""
        with self._spoken(name):
            return bool(self._client.has_collection(name))

    def drop(self, name: str) -> None:
        """Remove a collection; one that is not there is no error."""
        with self._spoken(name):
            self._client.drop_collection(name, timeout=self._patience)

    def pointed(self, alias: str) -> str | None:
        """The collection that an alias stands for."""
        try:
            with self._spoken(alias):
                return str(self._client.describe_alias(alias)["collection_name"])
        except Corrupt:
            return None

    def point(self, alias: str, name: str) -> None:
        """From now on the alias stands for this collection."""
        with self._spoken(name):
            if self.pointed(alias) is None:
                self._client.create_alias(name, alias)
            else:
                self._client.alter_alias(name, alias)

    def unpoint(self, alias: str) -> None:
        """The alias stands for nothing."""
        with self._spoken(alias):
            self._client.drop_alias(alias)

    @property
    def _patience(self) -> float:
        """Seconds for what writes much, or waits until it is written."""
        return max(600.0, self.config.timeout_seconds)

    @contextmanager
    def _spoken(self, about: str = "") -> Iterator[None]:
        """Raises Retryable where it is away, Corrupt where what it is about is not there."""
        try:
            yield
        except self._library.MilvusException as error:
            words = words_of(error)
            if any(each in words for each in _GONE):
                raise Corrupt(
                    f"{about} is not in the Milvus at {self.config.uri}: {words}",
                    hint="publishing the checkpoint again makes another version of it",
                ) from error
            kind = _NotLoaded if any(each in words for each in _UNLOADED) else Retryable
            raise kind(
                f"the Milvus at {self.config.uri} cannot be reached, or did not do as it was "
                f"asked: {words}",
                hint="publishing.milvus says where it is; is it running?",
            ) from error


def _imported() -> Any:
    try:
        return import_module("pymilvus")
    except ImportError as error:
        raise Refused(
            f"an index in Milvus needs pymilvus, which is not installed: {error}",
            hint='pip install "twintide[milvus]"',
        ) from error
