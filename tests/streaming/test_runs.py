from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from streaming.blocks import Block, Damaged
from streaming.messages import Messages, messages_of
from streaming.runs import runs_of

MIB = 1024 * 1024


def block(
    first: int, *, count: int = 10, size: int = 100, epoch: int | None = 1, unpacked: list[int]
) -> Block:
    """`count` messages of `size` bytes; `unpacked` hears when it is asked for them."""
    offsets = np.arange(first, first + count)

    def unpack() -> Iterator[Messages]:
        unpacked.append(first)
        yield messages_of(offsets, first + count, offsets + 7, [b"v" * size] * count)

    return Block("clicks", 0, first, unpack, leader_epoch=epoch)


def broken(first: int) -> Block:
    def unpack() -> Iterator[Messages]:
        raise ValueError("its CRC does not fit")

    return Block("clicks", 0, first, unpack)


def offsets_of(blocks: Sequence[Block], *, max_bytes: int = 32 * MIB) -> list[list[int]]:
    return [run.messages.offsets.tolist() for run in runs_of(blocks, max_bytes=max_bytes)]


def test_small_blocks_come_as_one_run() -> None:
    """In order, and what they say of themselves adds up."""
    alone = [next(block(first, unpacked=[]).messages()) for first in (0, 10, 20)]

    runs = list(runs_of([block(each, unpacked=[]) for each in (0, 10, 20)], max_bytes=32 * MIB))

    assert [run.messages.offsets.tolist() for run in runs] == [list(range(30))]
    assert runs[0].messages.times_ms.tolist() == list(range(7, 37))
    assert len(runs[0].messages.values) == 30
    assert runs[0].messages.next == 30
    assert runs[0].messages.bytes == sum(each.bytes for each in alone)


@pytest.mark.promise("S11")
def test_of_large_blocks_one_is_unpacked_at_a_time() -> None:
    """A poll holds many, and each may expand from kilobytes to megabytes."""
    unpacked: list[int] = []
    blocks = [block(first, size=MIB // 10, unpacked=unpacked) for first in (0, 10, 20)]

    seen = [list(unpacked) for _ in runs_of(blocks, max_bytes=32 * MIB)]

    assert seen == [[0], [0, 10], [0, 10, 20]]


@pytest.mark.promise("S11")
def test_runs_are_short_where_little_may_be_held() -> None:
    """What all open shards may hold bounds what is taken at once."""
    blocks = [block(first, unpacked=[]) for first in (0, 10, 20)]

    assert offsets_of(blocks, max_bytes=16 * 1000) == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 30)),
    ]


def test_a_run_is_of_one_leader() -> None:
    """A shard says which leader its last message came from."""
    blocks = [block(0, epoch=3, unpacked=[]), block(10, unpacked=[], epoch=4)]

    assert [run.leader_epoch for run in runs_of(blocks, max_bytes=32 * MIB)] == [3, 4]


def test_what_is_sound_before_a_damaged_block_is_given() -> None:
    """Only then comes the damage."""
    runs = runs_of([block(0, unpacked=[]), block(10, unpacked=[]), broken(20)], max_bytes=32 * MIB)

    assert next(runs).messages.next == 20
    with pytest.raises(Damaged, match="offset 20"):
        next(runs)
