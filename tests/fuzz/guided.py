"""Fuzzing that looks which lines an input reaches, and goes on from those that reach new ones.

    pip install atheris
    python -m tests.fuzz.guided yaml      -max_total_time=300
    python -m tests.fuzz.guided messages  -max_total_time=300
    python -m tests.fuzz.guided nested    -max_total_time=300

It ends with the first input that is wrong and writes it to `crash-…`: make a small test of it. What
follows the name of the target goes to libFuzzer; a folder keeps what was found for the next time.
"""

import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["yaml", "twintide", "tests"]):
    from tests.streaming import test_messages_fuzzed as plain
    from tests.twintide import test_yaml12 as texts
    from twintide import jsonrows, yaml12
    from twintide.errors import Refused
    from twintide.events import EventSchema

LONGEST = 600
"""Bytes of an input: long ones take a hundred times as long, and reach hardly more."""

BETWEEN = b"\n\n"
"""What parts the messages of one input."""


def yaml(data: bytes) -> None:
    """A text is read as plain JSON or refused on one line."""
    try:
        value = yaml12.parse(data.decode(errors="replace"), name="file")
    except Refused as refused:
        said = str(refused)
    else:
        said = json.dumps(value, allow_nan=False)
        expect(json.loads(said) == value, said)
        expect(yaml12.parse(yaml12.dump(value), name="printed") == value, said)
    expect("\n" not in said, said)


def messages(data: bytes) -> None:
    """Each message means what it means to a plain reader that sees it alone."""
    agrees(data.split(BETWEEN), plain.SCHEMA)


def nested(data: bytes) -> None:
    """The same where columns lie in objects and in lists of objects."""
    agrees(data.split(BETWEEN), plain.NESTED)


def agrees(some: list[bytes], schema: EventSchema) -> None:
    """Each message means what it means to a plain reader that sees it alone."""
    parsed = jsonrows.parse(some, schema)
    read = dict(zip(parsed.good.tolist(), plain.rows_of(parsed.events), strict=True))
    expect(sorted([*read, *dict(parsed.rejected)]) == list(range(len(some))), "counts")
    for index, message in enumerate(some):
        expect(plain.same(read.get(index), plain.read_one(message, schema)), repr(message))


def expect(truth: bool, said: str) -> None:  # noqa: FBT001  it reads as assert, which -O removes
    if not truth:
        raise AssertionError(said)


SEEDS = {
    yaml: [text.encode() for text in (*texts.TEXTS, *texts.AS_MEANT, *texts.REFUSED.values())],
    messages: [BETWEEN.join(plain.some_messages(random.Random(seed))[:3]) for seed in range(300)],
    nested: [
        BETWEEN.join(plain.some_messages(random.Random(seed), plain.some_nested)[:3])
        for seed in range(300)
    ],
}


def main() -> None:
    """Fuzz one of the targets, for as long as libFuzzer is told."""
    target = {each.__name__: each for each in SEEDS}[sys.argv.pop(1)]
    with TemporaryDirectory() as seeds:
        for number, data in enumerate(SEEDS[target]):
            if len(data) <= LONGEST:
                (Path(seeds) / str(number)).write_bytes(data)
        atheris.Setup([*sys.argv, f"-max_len={LONGEST}", seeds], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
