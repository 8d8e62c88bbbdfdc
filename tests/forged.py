"""Artifacts that nobody committed, for tests of what reads them."""

from pathlib import Path

import pyarrow as pa

from twintide.shardfile import encoded, path_of
from twintide.shards import ShardFooter


def put_shard(root: Path, footer: ShardFooter, events: pa.Table) -> Path:
    """Write a shard where it belongs, over what is there, without a claim."""
    path = path_of(root, footer)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(encoded(footer, events))
    return path
