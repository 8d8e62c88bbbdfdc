"""Why messages were rejected: the quarantine files that the newest shards name, by reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pyarrow as pa

from twintide.errors import Corrupt, words_of
from twintide.events import OFFSET_COLUMN, PARTITION_COLUMN
from twintide.overview.recent import ShardFacts
from twintide.overview.remembered import Remembered
from twintide.rowgroups import DAMAGED
from twintide.shards import Ledger

SHOWN_REASONS = 20
SHOWN_BYTES = 200


@dataclass(frozen=True)
class Reason:
    """Why messages were rejected, with one of them."""

    reason: str
    messages: int
    partition: int
    offset: int
    message: str
    """Its first bytes, as text."""


Reasons = Remembered[tuple[Reason, ...]]


def known_reasons() -> Reasons:
    """For one look, or for many by the same program."""
    return Remembered(_read)


def quarantine_files(ledger: Ledger, shards: Sequence[ShardFacts]) -> list[Path]:
    """Those that the shards name, in their order."""
    return [
        ledger.quarantine_path(each.footer.quarantine, each.footer.minute_at)
        for each in shards
        if each.footer.quarantine is not None
    ]


def reasons(files: Sequence[Path], *, known: Reasons) -> list[Reason]:
    """The most frequent ones of all files, with a message of the first file that has one. Raises
    Corrupt where a file cannot be read.
    """
    counts: Counter[str] = Counter()
    samples: dict[str, Reason] = {}
    for path in files:
        for each in known.of(path):
            counts[each.reason] += each.messages
            samples.setdefault(each.reason, each)
    most = islice(counts.most_common(), SHOWN_REASONS)
    return [replace(samples[text], messages=count) for text, count in most]


def _read(path: Path) -> tuple[Reason, ...]:
    try:
        with pa.ipc.open_file(path) as file:
            rows = file.read_all()
    except DAMAGED as error:
        raise Corrupt(
            f"quarantine file {path} cannot be read: {words_of(error)}", hint="`twintide verify`"
        ) from error
    counts: Counter[str] = Counter(rows["reason"].to_pylist())
    found = []
    for text, count in counts.items():
        first = rows.slice(rows["reason"].index(text).as_py(), 1).to_pylist()[0]
        message = first["message"][:SHOWN_BYTES].decode("utf-8", errors="backslashreplace")
        at = first[PARTITION_COLUMN], first[OFFSET_COLUMN]
        found.append(Reason(text, count, *at, message))
    return tuple(found)
