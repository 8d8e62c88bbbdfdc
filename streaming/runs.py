"""Blocks unpacked, the small ones together: what is done for each run of messages costs as much for
a hundred of them as for a thousand.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from streaming.blocks import Block
from streaming.messages import Messages, joined

_RUN_BYTES = 256 * 1024
"""More than most producers put into a batch, and little beside all that is held."""


@dataclass(frozen=True)
class Run:
    """Messages of one partition that one leader wrote, in offset order."""

    messages: Messages
    leader_epoch: int | None
    """None where that is not known."""


def runs_of(blocks: Iterable[Block], *, max_bytes: int) -> Iterator[Run]:
    """The messages of a partition's blocks. Of blocks that expand from kilobytes to megabytes one
    is unpacked at a time; `max_bytes` is what all open shards may hold.

    Raises what a block raises, after what is sound before it.
    """
    run_bytes = min(_RUN_BYTES, max_bytes // 16)
    together: list[Messages] = []
    held_bytes, epoch = 0, None
    for block in blocks:
        if together and (held_bytes >= run_bytes or block.leader_epoch != epoch):
            yield Run(joined(together), epoch)
            together, held_bytes = [], 0
        try:
            messages = block.messages()
        except Exception:
            if together:
                yield Run(joined(together), epoch)
            raise
        together.append(messages)
        held_bytes += messages.bytes
        epoch = block.leader_epoch
    if together:
        yield Run(joined(together), epoch)
