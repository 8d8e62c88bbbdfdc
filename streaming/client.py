"""How Kafka is reached: one place that turns a deployment's settings into the client's.

Errors of the client become ours here: what may pass by itself is Retryable, what an operator must
mend is Refused, and each says which broker and which topic it is about.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaProducer
from kafka import errors as kafka_errors

from streaming import reach
from twintide.config import KafkaConfig
from twintide.errors import Refused, Retryable

logging.getLogger("kafka").addHandler(logging.NullHandler())
"""What the client says at length, the daemon says in one event; `logging` can ask for more."""

KEEP_FOR_EVER_MS = -1
_GIVE_UP_SECONDS = 5.0
IS_IT_UP = "is it up, and is kafka.bootstrap_servers right? `twintide broker` starts a local one"

_OPERATORS_BUSINESS = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.UnsupportedCodecError,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.KafkaConfigurationError,
    kafka_errors.InvalidTopicError,
    kafka_errors.InvalidGroupIdError,
    kafka_errors.InconsistentGroupProtocolError,
)


def connection(config: KafkaConfig, *, timeout_seconds: float | None = None) -> dict[str, Any]:
    """Settings that every client of this deployment shares. Raises Refused without its password."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(config.bootstrap_servers),
        "bootstrap_timeout_ms": round((timeout_seconds or _GIVE_UP_SECONDS) * 1000),
        "reconnect_backoff_max_ms": 1000,  # a broker that is back is found within a second
        "security_protocol": config.security_protocol,
    }
    if config.ssl_cafile is not None:
        settings["ssl_cafile"] = str(config.ssl_cafile)
    if config.sasl_mechanism is not None:
        settings["sasl_mechanism"] = config.sasl_mechanism
        settings["sasl_plain_username"] = config.sasl_username
        settings["sasl_plain_password"] = config.sasl_password()
    return settings


def as_ours(error: kafka_errors.KafkaError, where: str) -> Retryable | Refused:
    """Who must act on an error of the client."""
    if isinstance(error, kafka_errors.InvalidSessionTimeoutError):
        return Refused(
            f"Kafka at {where} takes no member that may be silent for so long or so short a time",
            hint="set kafka.session_timeout_seconds between the brokers' "
            "group.min.session.timeout.ms (6 s by default) and group.max.session.timeout.ms",
        )
    if isinstance(error, _OPERATORS_BUSINESS):
        return Refused(f"Kafka at {where} refuses: {error}", hint="mend the section `kafka`")
    if isinstance(error, kafka_errors.GroupMaxSizeReachedError):
        return Retryable(
            f"the group has no room for one more: {error}",
            hint="end a member of it, or raise the brokers' group.max.size",
        )
    return Retryable(f"Kafka at {where} does not answer: {error}", hint=IS_IT_UP)


@contextmanager
def translated(servers: Sequence[str] | str) -> Iterator[None]:
    """Errors of the client leave the block as Retryable or Refused."""
    where = servers if isinstance(servers, str) else ", ".join(servers)
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise as_ours(error, where) from error


def opened(kind: type[Any], config: KafkaConfig, settings: dict[str, Any]) -> Any:
    """A consumer, producer or admin client. One that finds no broker leaves nothing behind: by
    itself the client would keep a thread that tries to connect for ever, one for each attempt.

    Raises Refused where no waiting would help, and says what is to be mended; else Retryable.
    """
    started: list[Any] = []

    def start(**client_settings: Any) -> Any:
        started.append(kind.DEFAULT_CONFIG["kafka_client"](**client_settings))
        return started[-1]

    try:
        return kind(kafka_client=start, **settings)
    except BaseException as error:
        for each in started:
            each.close()
        if isinstance(error, kafka_errors.KafkaTimeoutError):
            raise_if_unreachable(config, config.bootstrap_servers)
        raise


def raise_if_unreachable(config: KafkaConfig, servers: Iterable[str]) -> None:
    """Raises Refused where none of these host:port can be reached before an operator acts."""
    refused = reach.refusal(config, servers, connection(config))
    if refused is not None:
        raise refused


@contextmanager
def admin(
    config: KafkaConfig, *, timeout_seconds: float | None = None
) -> Iterator[KafkaAdminClient]:
    """An administrator's client, closed with the block. Raises Retryable without a broker."""
    with translated(config.bootstrap_servers):
        settings = connection(config, timeout_seconds=timeout_seconds)
        client = opened(KafkaAdminClient, config, settings)
        try:
            yield client
        finally:
            client.close()


@contextmanager
def producer(config: KafkaConfig) -> Iterator[KafkaProducer]:
    """A producer that batches well and never doubles a message of its own by a retry."""
    settings = {
        "acks": "all",
        "enable_idempotence": True,
        "compression_type": "lz4",
        "batch_size": 256 * 1024,
        "linger_ms": 50,
        "metrics_enabled": False,
    }
    with translated(config.bootstrap_servers):
        client = opened(KafkaProducer, config, connection(config) | settings)
        try:
            yield client
        finally:
            client.close(timeout=10)


def create_topic(
    kafka: KafkaConfig | str,
    topic: str,
    *,
    partitions: int,
    retention_ms: int = KEEP_FOR_EVER_MS,
) -> None:
    """Make a topic where there is none; one that is there stays as it is.

    `kafka` is a deployment's section or just host:port. Messages are kept for ever by default,
    since replayed events are years old and would be deleted at once.
    """
    config = as_config(kafka)
    settings = {"num_partitions": partitions, "configs": {"retention.ms": str(retention_ms)}}
    with admin(config) as client:
        try:
            client.create_topics({topic: settings}, wait_for_metadata=True)
        except kafka_errors.TopicAlreadyExistsError:
            return


def partitions_of(kafka: KafkaConfig | str, topic: str) -> int:
    """How many partitions a topic has; 0 where there is no such topic."""
    with admin(as_config(kafka)) as client:
        if topic not in client.list_topics():
            return 0
        return len(client.describe_topics([topic])[0]["partitions"])


def broker_count(bootstrap: str) -> int:
    """Brokers that the cluster knows of; 0 while none answers."""
    try:
        with admin(as_config(bootstrap), timeout_seconds=2.0) as client:
            return len(client.describe_cluster()["brokers"])
    except Retryable:
        return 0


def as_config(kafka: KafkaConfig | str) -> KafkaConfig:
    """A deployment's section as it is, or one for a plain broker at host:port."""
    return KafkaConfig(bootstrap_servers=(kafka,)) if isinstance(kafka, str) else kafka
