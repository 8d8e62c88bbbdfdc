"""A fast day with everything going wrong, and the promises that must hold at its end.

    python -m tests.soak.soak --seed 1 --minutes 60

A day of the stream (1,440 minutes) passes in `--minutes` of the machine, while faults strike at
random from the seed. At the end all is mended, ingest and the learner catch up, and every promise
is checked against what Kafka itself holds.
"""

import argparse
import random
import shutil
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from streaming.daemon import run as ingest
from tests.soak.faults import FAULTS, Mend, NotStruckError, full_disk
from tests.soak.line import PARTITIONS, TOPIC, SoakLine, small_disk
from tests.soak.stream import everything_in
from trainer.hourly import hourly
from trainer.nightly import nightly
from twintide.clock import monotonic_seconds
from twintide.config import Deployment
from twintide.jsonrows import parse
from twintide.layout import sweep
from twintide.shards import Ledger, ledger_folder, read_shard
from twintide.slices import chain_dir, read_chain

DISK_MEGABYTES = 400
_MINUTES_TO_AN_ANSWER = 15
"""A soak of less may end before there is a version."""


@dataclass
class Verdict:
    """What a soak came to: promise -> what broke it (nothing, where it held)."""

    seed: int
    broken: dict[str, list[str]] = field(default_factory=dict)
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        return not any(self.broken.values())

    def table(self) -> Table:
        made = Table(title=f"soak, seed {self.seed}", title_justify="left")
        made.add_column("what")
        made.add_column("found")
        for name, figure in self.figures.items():
            made.add_row(name, str(figure))
        for promise, breaches in self.broken.items():
            made.add_row(promise, "held" if not breaches else f"BROKEN: {breaches[:3]}")
        return made


def soak(
    folder: Path,
    *,
    seed: int,
    minutes: float,
    stream_minutes: int,
    say: Callable[[str], None] = lambda _: None,
) -> Verdict:
    """Run it; the artifacts lie in `folder` afterwards."""
    verdict = Verdict(seed)
    with small_disk(folder / "disk", DISK_MEGABYTES) as has_disk:
        line = SoakLine(folder / "disk", seed=seed, minutes=minutes, stream_minutes=stream_minutes)
        with line:
            struck = _strike(line, seed, minutes=minutes, has_disk=has_disk, say=say)
            line.stream.stop()
            _end_programs(line, verdict)
            say("caught up by one run more")
            verdict.broken["what was left is taken in and learnt"] = _caught_up(line)
            truth = everything_in(line.kafka.bootstrap, TOPIC, PARTITIONS)
        verdict.figures |= {
            "faults": dict(sorted(struck.items())),
            "messages": len(truth),
            "answers": line.answers,
            "ingest starts": line.ingest.starts,
            "crashes": {
                each.name: each.crashes for each in (line.ingest, line.learner, line.server)
            },
        }
        _judge(line, truth, verdict)
        if minutes >= _MINUTES_TO_AN_ANSWER and not line.answers:
            verdict.broken["P3 no failed answer"] = ["nobody was answered at all"]
    return verdict


def _strike(
    line: SoakLine, seed: int, *, minutes: float, has_disk: bool, say: Callable[[str], None]
) -> Counter[str]:
    """Faults from the seed until the day is over, each for some seconds; then all is mended."""
    chance = random.Random(seed)
    faults = [fault for fault in FAULTS if has_disk or fault is not full_disk]
    order = chance.sample(faults, len(faults))  # each once, then as it comes
    struck: Counter[str] = Counter()
    open_: list[tuple[float, str, frozenset[str], Mend]] = []
    pause = threading.Event()
    began = monotonic_seconds()
    ends_at = began + minutes * 60
    next_at = began + 3.0
    while (now := monotonic_seconds()) < ends_at:
        line.sample()
        for entry in [each for each in open_ if each[0] <= now]:
            open_.remove(entry)
            entry[3]()
            say(f"{now - began:6.1f} s  mended {entry[1]}")
        held = frozenset().union(*(entry[2] for entry in open_))
        if now >= next_at and len(open_) < 3:
            fault = order.pop() if order else chance.choice(faults)
            if FAULTS[fault] & held:
                order.insert(0, fault)
            else:
                name = fault.__name__
                lasts = chance.uniform(2, 12)
                try:
                    mend = fault(line)
                except (KafkaError, NotStruckError) as error:  # another fault holds it
                    say(f"{now - began:6.1f} s  {name} could not strike: {error}")
                    struck[f"{name}, could not strike"] += 1
                else:
                    say(f"{now - began:6.1f} s  {name}")
                    open_.append((now + lasts, name, FAULTS[fault], mend))
                    struck[name] += 1
            next_at = monotonic_seconds() + chance.uniform(1, 6)
        pause.wait(0.5)
    for entry in open_:
        entry[3]()
    return struck


def _end_programs(line: SoakLine, verdict: Verdict) -> None:
    line.wait_until(lambda: line.ingest.has_said("partition_resumed"), seconds=120)
    ended = line.ingest.end()
    told = (
        f"exit {ended.code} after {ended.seconds:.1f} s, in {ended.starved_seconds:.1f} of which "
        "others had the processors"
    )
    in_time = ended.seconds - ended.starved_seconds < 5
    verdict.figures["SIGTERM of ingest"] = told
    verdict.broken["S12 ends within 5 s, exit 0"] = [] if ended.code == 0 and in_time else [told]
    line.learner.kill()
    line.learner.end()


def _caught_up(line: SoakLine) -> list[str]:
    """One run more of each, on a line without faults; what went wrong."""
    failures = []
    deeds: dict[str, Callable[[], object]] = {
        "ingest": lambda: ingest(line.deployment, clock=line.clock, until_caught_up=True),
        "nightly": lambda: nightly(line.deployment, clock=line.clock),
        "hourly": lambda: hourly(line.deployment, clock=line.clock),
    }
    for name, deed in deeds.items():
        try:
            deed()
        except Exception as error:  # noqa: BLE001  the verdict says what it was
            failures.append(f"{name}: {error!r}")
    return failures


def _judge(line: SoakLine, truth: dict[tuple[int, int], bytes | None], verdict: Verdict) -> None:
    deployment = line.deployment
    ledger = Ledger(deployment.shards_dir, TOPIC)
    footers = [name.footer() for name in ledger.names()]
    verdict.figures["shards"] = len(footers)
    verdict.broken |= {
        "S1 every good message in one row": _rows_against(truth, deployment, ledger),
        "S2 no gap, no overlap, nothing damaged": ledger.check(),
        "S8 consumed = rows + rejected + filtered": _identity(truth, footers),
        "S13 no shard beyond the clock": [
            f"{each.partition}/{each.first} at {each.minute_at}"
            for each in footers
            if (each.minute_at - line.clock.right()).total_seconds() > 20 * 60
        ],
        "T1 every click learnt once": _learnt(deployment, ledger),
        "P3 no failed answer": line.failed_answers,
        "files: nothing left over": _leftovers(deployment),
        "memory is flat": _growth(line),
        "no program crashed": [
            f"{each.name} {each.crashes} times"
            for each in (line.ingest, line.learner, line.server, *line.rivals)
            if each.crashes
        ],
    }


def _rows_against(
    truth: dict[tuple[int, int], bytes | None], deployment: Deployment, ledger: Ledger
) -> list[str]:
    """Each message on its own says what its row must be."""
    schema = deployment.events
    expected: dict[tuple[int, int], dict[str, object]] = {}
    for place, value in truth.items():
        if value is None:
            continue
        parsed = parse([value], schema)
        if len(parsed.events):
            expected[place] = parsed.events.to_pylist()[0]
    found: Counter[tuple[int, int]] = Counter()
    wrong = []
    for name in ledger.names():
        for row in read_shard(name.path).to_pylist():
            place = (row["kafka_partition"], row["kafka_offset"])
            found[place] += 1
            if expected.get(place) != {key: row[key] for key in schema.columns}:
                wrong.append(f"{place} is {row}")
    lost = [f"lost {place}" for place in expected.keys() - found.keys()]
    doubled = [f"{place} stands {count} times" for place, count in found.items() if count > 1]
    return lost + doubled + wrong


def _identity(truth: dict[tuple[int, int], bytes | None], footers: list) -> list[str]:  # type: ignore[type-arg]
    breaches = []
    for each in footers:
        held = sum((each.partition, offset) in truth for offset in range(each.first, each.next))
        if held != each.rows + each.rejected + each.filtered:
            breaches.append(f"{each.partition}/{each.first}: {held} messages")
    return breaches


def _learnt(deployment: Deployment, ledger: Ledger) -> list[str]:
    """The chain of slices holds every row of the shards once, as far as it goes."""
    in_slices: Counter[tuple[int, int]] = Counter()
    for each in read_chain(chain_dir(deployment.slices_dir, deployment.events, deployment.model)):
        rows = each.read()
        in_slices.update(
            zip(rows["kafka_partition"].to_pylist(), rows["kafka_offset"].to_pylist(), strict=True)
        )
    doubled = [
        f"{place} stands in {count} slices" for place, count in in_slices.items() if count > 1
    ]
    ends = {p: max((o for q, o in in_slices if q == p), default=-1) for p in range(PARTITIONS)}
    missing = []
    for name in ledger.names():
        offsets = read_shard(name.path, ["kafka_offset"])["kafka_offset"]
        within = offsets.filter(pc.less_equal(offsets, ends[name.partition])).to_pylist()
        missing += [
            f"{name.partition}/{o} in no slice"
            for o in within
            if (name.partition, o) not in in_slices
        ]
    return doubled + missing


def _leftovers(deployment: Deployment) -> list[str]:
    """What a start an hour later would not sweep; young temporaries may be of a writer at work."""
    sweep(ledger_folder(deployment.shards_dir), older_than_seconds=0)
    return [str(path) for path in deployment.data_dir.rglob("*.tmp")]


def _growth(line: SoakLine) -> list[str]:
    """The last third may hold little more than the middle one."""
    grown = []
    third = len(line.memory) // 3
    for name in ("ingest", "server"):
        held = [sample[name] for _, sample in line.memory]
        middle, last = (
            max(part, default=0) for part in (held[third : 2 * third], held[2 * third :])
        )
        if last > middle * 1.2 + 50e6:
            grown.append(f"{name} {middle / 1e6:.0f} to {last / 1e6:.0f} MB")
    return grown


def main() -> None:
    """From the command line."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--minutes", type=float, default=60.0, help="how long the day takes")
    arguments.add_argument("--stream-minutes", type=int, default=1440)
    arguments.add_argument("--keep", type=Path, help="leave everything in this folder")
    chosen = arguments.parse_args()
    folder = chosen.keep or Path(tempfile.mkdtemp(prefix="soak-"))
    console = Console()
    console.print(f"seed {chosen.seed}")
    verdict = soak(
        folder,
        seed=chosen.seed,
        minutes=chosen.minutes,
        stream_minutes=chosen.stream_minutes,
        say=console.print,
    )
    console.print(verdict.table())
    if chosen.keep is None:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(0 if verdict.is_sound else 1)


if __name__ == "__main__":
    main()
