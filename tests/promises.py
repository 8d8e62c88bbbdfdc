"""Writes docs/promises.md: what is guaranteed, and the tests that show it.

    python -m tests.promises

A promise without a test is not made, so it is not listed.
"""

import io
from collections import defaultdict
from contextlib import redirect_stdout
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "promises.md"
PROMISES = {
    "S1": "Every valid event is in exactly one shard, whatever dies when",
    "S2": "Shards of a partition have no gap and no overlap; a breach is named",
    "S3": "A visible shard is complete and undamaged",
    "S4": "A minute is visible soon after it ends, also without traffic",
    "S5": "Back at work fast after kill -9",
    "S6": "Data that Kafka has deleted is never skipped silently",
    "S7": "Broker absent or gone for a while: nothing lost, ready again by itself",
    "S8": "A bad message never stops the stream and never vanishes",
    "S9": "A flood of bad messages stops the line instead of training on the rest",
    "S10": "A full disk loses nothing and heals",
    "S11": "Memory is bounded, whatever the backlog",
    "S12": "SIGTERM ends cleanly",
    "S13": "No clock but the reader's own can stop or move the line",
    "S14": "A file or message is read as meant or refused by row and column, in every format alike",
    "T1": "The hourly line learns every shard exactly once, in order",
    "T2": "Killed and resumed equals uninterrupted, bit for bit (CPU, same thread count)",
    "T3": "The hourly pass changes only rows that it saw",
    "T4": "The nightly epoch starts from yesterday's nightly weights and sees each click once",
    "T5": "The hand-over loses no click and repeats none",
    "T6": "No NaN or infinity reaches a checkpoint",
    "T7": "A missed or late schedule loses no work; two runs of a line never overlap",
    "T8": "A crash while checkpointing leaves the previous one usable",
    "T9": "Derived features never see the future; quality is measured on clicks not learnt",
    "T10": "A version can be rebuilt from its lineage",
    "T11": "The same log gives the same rows, whatever the cadence, lateness of runs or restarts",
    "T12": "What an hour costs follows its clicks",
    "T13": "A changed declaration goes on, is remade, warm-starts or is refused, as the table says",
    "P1": "A version is whole, immutable, verified before anything parses it",
    "P2": "Query tower and index always belong together",
    "P3": "A switch is atomic, without a gap",
    "P4": "A bad version never displaces a good one",
    "P5": "Rollback is one command, without trainer, Kafka or rebuild, and takes effect fast",
    "P6": "Rollback sticks until `release`; it refuses when there is nothing to go back to",
    "P7": "A version worse than the gate's limits is not promoted; a good one is",
    "P8": "gc removes nothing that is live, previous, held or a parent in use",
    "P9": "Publishers, rollbacks and gc at once are as if one after the other",
    "P10": "Freshness is known: the age of the newest click in what is served",
    "P11": "An answer has k items, or the filtered catalogue is used up",
    "P12": "What must go is gone: a blocked item within seconds, without a publish",
    "X1": "Loading anything never runs code",
    "X2": "Configuration is data: unknown keys refused, no YAML surprises",
    "X3": "Secrets never reach logs, metrics, errors, artifacts or process arguments",
    "X4": "TLS is verified; SASL over plaintext is refused unless named",
    "X5": "HTTP changes nothing; loopback by default, beyond it a token or no start",
    "X6": "No name leaves its root",
}


class _Collector:
    """Notes which collected test keeps which promise."""

    def __init__(self) -> None:
        self.tests: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            name = item.name.partition("[")[0]
            for marker in item.iter_markers("promise"):
                self.tests[marker.args[0]][name].add(item.nodeid)


def page() -> str:
    """The page, from the tests as they are."""
    collector = _Collector()
    with redirect_stdout(io.StringIO()):
        pytest.main(
            ["--collect-only", "-q", "-m", "", "-p", "no:randomly", "-p", "no:cacheprovider"],
            plugins=[collector],
        )
    if unknown := collector.tests.keys() - PROMISES.keys():
        raise ValueError(f"tests are marked with promises that are not listed: {sorted(unknown)}")
    lines = [
        "# Promises",
        "",
        "What the system guarantees, and the tests that show it, by injecting the fault into the",
        "real code. Made by `python -m tests.promises`; run by `make test`, the long sweeps by",
        "`make faults`. What is not listed is not promised yet.",
        "",
        "| | promise | tests (cases) |",
        "|---|---|---|",
    ]
    for number, text in PROMISES.items():
        if tests := collector.tests.get(number):
            shown = "<br>".join(
                f"`{name.removeprefix('test_')}` ({len(cases)})"
                for name, cases in sorted(tests.items())
            )
            lines.append(f"| {number} | {text} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
