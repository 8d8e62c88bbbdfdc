"""How many ids a second a table's vocabulary finds, and takes.

    python -m benchmarks.vocabulary [--rounds 5]

Ids that are known, at random, in batches of 10,000 and of a million; strings such as user-123456, a
million at once, from Arrow to rows; then a vocabulary that grows from nothing by batches of
100,000, of which half are new. Millions of ids a second of processor
time, which a busy machine disturbs least: the median of the rounds, the lowest and highest.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from twintide.keys import Keys, keys_of, mixed
from twintide.model.vocabulary import Vocabulary

SIZES = (100_000, 1_000_000, 10_000_000)


def main() -> None:
    """Measure each size; print a table."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    rounds = arguments.parse_args().rounds
    columns = ("10,000 at once", "1,000,000 at once", "strings", "growth")
    table = Table("ids known", *columns, title="M ids / s")
    for size in SIZES:
        keys = mixed(np.arange(1, size + 1, dtype=np.uint64))
        grown = [_rate(lambda: _grown(keys), 2 * size) for _ in range(min(rounds, 2))]  # noqa: B023
        vocabulary, rng = _grown(keys), np.random.default_rng(1)
        found = []
        for count in (10_000, 1_000_000):
            asked = [rng.choice(keys, count) for _ in range(rounds)]
            found.append([_rate(lambda: vocabulary.rows_of(some), count) for some in asked])  # noqa: B023
        found.append(_strings_found(size, rounds))
        table.add_row(f"{size:,}", *(_said(each) for each in (*found, grown)))
    Console().print(table)


def _strings_found(size: int, rounds: int) -> list[float]:
    """Of a vocabulary that knows so many strings."""
    rng, count = np.random.default_rng(2), 1_000_000
    vocabulary = _grown(keys_of(_named(np.arange(size))))
    asked = [_named(rng.integers(0, size, count)) for _ in range(rounds)]
    return [_rate(lambda: vocabulary.rows_of(keys_of(some)), count) for some in asked]  # noqa: B023


def _named(numbers: npt.NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise("user", pa.array(numbers).cast(pa.string()), "-")


def _grown(keys: Keys) -> Vocabulary:
    """Each batch holds as many known ids as new ones."""
    made = Vocabulary()
    for begin in range(0, len(keys), 50_000):
        new = made.new_among(keys[max(0, begin - 50_000) : begin + 50_000])
        made.insert(new, np.arange(begin + 1, begin + 1 + len(new)))
    return made


def _rate(run: Callable[[], object], ids: int) -> float:
    began = time.process_time()
    run()
    return ids / (time.process_time() - began) / 1e6


def _said(rates: list[float]) -> str:
    return f"{statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f})"


if __name__ == "__main__":
    main()
