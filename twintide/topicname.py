"""Names of Kafka topics, as a declaration may give them."""

import re
from typing import Annotated

from pydantic import AfterValidator

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,220}")


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError(
            f"{name[:60]!r} is no name that Kafka takes and that fits into the name of a shard: up "
            "to 220 letters, digits, '.', '_', '-'"
        )
    return name


TopicName = Annotated[str, AfterValidator(_topic)]
"""Up to 220 letters, digits, '.', '_', '-'."""
