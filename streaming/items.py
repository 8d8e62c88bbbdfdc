"""A topic of items is read where training or publishing begins: no stage but streaming speaks
Kafka.
"""

# ruff: noqa: PLC0415  what is heavy is imported where it is needed; see console/options.py

from typing import TYPE_CHECKING

from twintide.clock import Clock

if TYPE_CHECKING:
    from twintide.config import Deployment


def read_items(deployment: "Deployment", clock: Clock) -> None:
    """Read the topic, where one is declared; a file is read by whoever needs it.

    Raises Refused or Retryable where it cannot be read and never could.
    """
    if deployment.items.topic is not None:
        from streaming.itemtopic import refresh

        refresh(deployment, clock=clock)
