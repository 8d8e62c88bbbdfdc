"""Batches are unpacked a few megabytes at a time, and whatever they hold comes, or is named."""

import random
import tracemalloc

import numpy as np
import pytest
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatch

from streaming import unpack
from streaming.messages import Messages
from tests.streaming.batches import CODECS, HEADER_BYTES, packed, with_count, with_its_crc
from tests.streaming.line import NOON_MS

MIB = 1024 * 1024


def pieces_of(batch: bytes) -> list[Messages]:
    return list(unpack.pieces_of(DefaultRecordBatch(batch)))


def count_in(batch: bytes) -> int | None:
    """How many messages come out of it; None where it is refused: codecs raise what they please."""
    try:
        return sum(map(len, pieces_of(batch)))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001
        return None


def some_values(seed: int) -> list[bytes | None]:
    random_ = random.Random(seed)
    sizes = [random_.choice([0, 1, 5, 90, 700, 3000]) for _ in range(120)]
    return [None if size == 5 else random_.randbytes(size // 2) * 2 for size in sizes]


@pytest.mark.promise("S11")
@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("chunk_bytes", [64, 1000, unpack.CHUNK_BYTES])
def test_a_batch_is_the_same_however_small_the_pieces(
    monkeypatch: pytest.MonkeyPatch, codec: str, chunk_bytes: int
) -> None:
    """Every message once, with its offset and time; the last piece ends where the batch does."""
    monkeypatch.setattr(unpack, "CHUNK_BYTES", chunk_bytes)
    values = some_values(chunk_bytes)

    pieces = pieces_of(packed(values, codec))

    assert [value for piece in pieces for value in piece.values] == values
    assert np.concatenate([piece.offsets for piece in pieces]).tolist() == list(range(120))
    times_ms = np.concatenate([piece.times_ms for piece in pieces]).tolist()
    assert times_ms == list(range(NOON_MS, NOON_MS + 120))
    assert [piece.next for piece in pieces] == [int(piece.offsets[-1]) + 1 for piece in pieces]
    assert (len(pieces) > 1) == (chunk_bytes < unpack.MOST_BYTES // 8)


@pytest.mark.promise("S11")
@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_kilobytes_that_expand_to_much_are_never_held_together(codec: str) -> None:
    """What is held is a chunk, its messages, and what was fetched."""
    batch = packed([b" " * MIB] * 50, codec)
    assert len(batch) < MIB
    count = 0
    tracemalloc.start()
    for piece in unpack.pieces_of(DefaultRecordBatch(batch)):
        count += len(piece)
        del piece
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert count == 50
    assert peak < 7 * unpack.CHUNK_BYTES


@pytest.mark.promise("S8")
@pytest.mark.parametrize("codec", ["none", "zstd"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_message_too_long_to_be_held_comes_cut_off(
    monkeypatch: pytest.MonkeyPatch, codec: str, place: int
) -> None:
    """With its beginning and its size, as no JSON at all; those around it come as they are."""
    monkeypatch.setattr(unpack, "MOST_BYTES", MIB)
    monkeypatch.setattr(unpack, "CHUNK_BYTES", 100_000)
    values = [b"one", b"two"]
    values.insert(place, b'{"a": 1}' + b" " * 3 * MIB)

    pieces = pieces_of(packed(values, codec))

    found = [value for piece in pieces for value in piece.values]
    assert found[place].startswith(b'{"a": 1}')
    assert found[place].endswith(b" bytes, of at most 1048576)")
    assert len(found[place]) < 1100
    assert found[:place] + found[place + 1 :] == [b"one", b"two"]
    assert pieces[-1].next == 3


@pytest.mark.parametrize("codec", CODECS)
def test_a_batch_that_ends_early_or_has_more_than_it_says_is_refused(codec: str) -> None:
    """However little is missing, although the CRC fits; what came before may be taken."""
    sound = packed(some_values(1), codec)
    cut_short = [with_its_crc(sound[:end]) for end in (HEADER_BYTES, len(sound) // 2)]
    miscounted = [with_count(sound, count) for count in (119, 121)]
    for batch in (*cut_short, *miscounted):
        assert DefaultRecordBatch(batch).validate_crc()
        assert count_in(batch) is None


@pytest.mark.parametrize("codec", [name for name in CODECS if name != "none"])
def test_bytes_that_are_no_such_stream_are_refused(codec: str) -> None:
    """Whatever they are."""
    sound = packed(some_values(2), codec)
    random_ = random.Random(3)
    for _ in range(200):
        packed_bytes = bytearray(sound[HEADER_BYTES:])
        for _ in range(3):
            packed_bytes[random_.randrange(len(packed_bytes))] = random_.randrange(256)
        batch = with_its_crc(sound[:HEADER_BYTES] + bytes(packed_bytes))
        assert count_in(batch) in {None, 120}


def test_snappy_that_claims_to_be_huge_is_not_believed() -> None:
    """Its size stands before its bytes, and somebody would make room for it."""
    with pytest.raises(CorruptRecordError, match="do not expand to"):
        unpack._of_snappy(b"\xff\xff\xff\xff\x0f" + b"x" * 100)
