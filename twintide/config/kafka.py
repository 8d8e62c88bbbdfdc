"""`kafka:`, where the click stream is."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from twintide.config.section import Config, Text, Variable, secret_in
from twintide.places import Place
from twintide.topicname import TopicName

_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})")


def _server(text: str) -> str:
    match = _SERVER.fullmatch(text)
    if match is None or not 1 <= int(match[2]) <= 65_535:  # noqa: PLR2004  the largest port
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9092")
    return text


Server = Annotated[str, AfterValidator(_server)]


class KafkaConfig(Config):
    """Where the click stream is, and how to reach it."""

    bootstrap_servers: Annotated[tuple[Server, ...], Field(min_length=1)] = ("127.0.0.1:9092",)
    """host:port of one or more brokers."""

    topic: TopicName = "clicks"
    """Where the clicks are."""

    group: Text = "twintide"
    """Consumer group; several ingest daemons with one group share the partitions."""

    assignment: Literal["group", "all"] = "group"
    """`group`: the ingest daemons of one group share the partitions. `all`: this daemon takes every
    one, and is back at once after a crash, since no group waits for a dead member.
    """

    session_timeout_seconds: Annotated[float, Field(gt=0, le=1800)] = 6.0
    """How long a group waits for a member that says nothing before others take its partitions."""

    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How brokers are spoken to: SSL encrypts and verifies them, SASL sends a password."""

    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How the password is sent."""

    sasl_username: Text | None = None
    """Who the brokers take this for."""

    sasl_password_env: Variable | None = None
    """Name of the environment variable that holds the password, which is never written down."""

    ssl_cafile: Place | None = None
    """PEM file of the authorities that brokers' certificates must be signed by. Without it the
    machine's own are trusted.
    """

    allow_password_over_plaintext: bool = False
    """SASL_PLAINTEXT sends the password readably over the network; it must be asked for."""

    def sasl_password(self) -> str | None:
        """The password out of the environment. Raises Refused where the variable is not set."""
        return secret_in(self.sasl_password_env, key="kafka.sasl_password_env", what="password")
