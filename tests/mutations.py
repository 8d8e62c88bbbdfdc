"""JSON documents that are nearly right: what nobody would send, but for a fault or an attack."""

import json
import random
from typing import Any

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 7, 2**31, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 0.5, -0.0,
    1e39, 1e300, -1e308, "", "x", "\0", "4", "nan", "日本語", "../../etc/passwd",
    "x" * 5_000, [], [None], [[]], [1, "x"], ["x", 1], [1.5], [2**64], {}, {"": 1},
    {"a": {"a": {}}},
    list(range(3_000)),
    ["x"] * 3_000, "v999999", "2022-05-01T00:00:00Z", "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
]  # fmt: skip


def place(value: Any, rng: random.Random) -> tuple[Any, Any] | None:
    """Some place in a document: what holds it, and its key. Found by going down at random, which
    is much faster than a list of all places, and favours those that lie high.
    """
    found = None
    while isinstance(value, dict | list) and value and (found is None or rng.random() < 0.7):
        key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
        found = value, key
        value = value[key]
    return found


def changed(document: Any, rng: random.Random, *, keys: list[str]) -> Any:
    """A copy with a few values replaced, removed, doubled, or put where they do not belong."""
    found = copied(document)
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        if where := place(found, rng):
            change(*where, rng, keys)
    return found


def copied(document: Any) -> Any:
    """Much faster than `copy.deepcopy`."""
    return json.loads(json.dumps(document))


def change(holder: Any, key: Any, rng: random.Random, keys: list[str]) -> None:
    odd = copied(rng.choice(ODD_VALUES))
    match rng.randrange(6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice([*keys, "x", ""])] = odd
        case 2 if isinstance(holder, list):
            holder.append(copied(holder[key]))
        case 3 if isinstance(holder[key], int):
            holder[key] += rng.choice([-1, 1, 1_000_000])
        case _:
            holder[key] = odd


def damaged(data: bytes, rng: random.Random) -> bytes:
    """The bytes with some flipped, cut, doubled or put in."""
    at, upto = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    match rng.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[upto:]
        case 2:
            return (
                data[:at]
                + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9)))
                + data[at:]
            )
        case 3:
            return data[:upto] + data[at:upto] + data[upto:]
        case 4:
            return data.replace(
                rng.choice([b",", b":", b'"', b"}", b"["]), rng.choice([b"", b"[[["]), 1
            )
        case _:
            return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
