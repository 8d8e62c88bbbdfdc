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
    """The messages of a partition's blocks, the large ones in pieces; `max_bytes` is what all open
    shards may hold.

    Raises what a block raises, after what is sound before it.
    """
    run_bytes = min(_RUN_BYTES, max_bytes // 16)
    together: list[Messages] = []
    epoch = None
    try:
        for block in blocks:
            for messages in block.messages():
                if together and block.leader_epoch != epoch:
                    yield Run(joined(together), epoch)
                    together = []
                together.append(messages)
                epoch = block.leader_epoch
                if sum(each.bytes for each in together) >= run_bytes:
                    yield Run(joined(together), epoch)
                    together = []
    except Exception:
        if together:
            yield Run(joined(together), epoch)
        raise
    if together:
        yield Run(joined(together), epoch)
