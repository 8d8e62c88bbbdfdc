import gc
import warnings
from pathlib import Path
from typing import Any

from docker.errors import DockerException
from testcontainers.community.kafka import KafkaContainer

from streaming.local_kafka import LocalKafka


def in_docker() -> Any | None:
    """A Kafka container, not yet started; None where there is no Docker."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # its client leaves a socket when it fails
        try:
            return KafkaContainer().with_kraft()
        except DockerException:
            return None
        finally:
            gc.collect()


def from_pip(folder: Path) -> LocalKafka:
    """An Apache Kafka that pip alone brings, not yet started."""
    return LocalKafka(folder / "data", log_path=folder / "kafka.log")
