"""Who must act where no broker lets us in, said within seconds and never with the password."""

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from streaming import client
from streaming.client import admin, create_topic
from tests.streaming.line import Line, deployment_values
from tests.streaming.secured import PASSWORD, SecuredKafka
from twintide.config import KafkaConfig
from twintide.errors import Refused, Retryable

TLS = {"security_protocol": "SSL"}
LOGIN = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "alice",
    "sasl_password_env": "TWINTIDE_TEST_PASSWORD",
    "allow_password_over_plaintext": True,
}
BOTH = {**LOGIN, "security_protocol": "SASL_SSL"}
SCRAM = {**LOGIN, "sasl_mechanism": "SCRAM-SHA-256"}
SCRAM_512 = {**LOGIN, "sasl_mechanism": "SCRAM-SHA-512"}
BOB = {**LOGIN, "sasl_username": "bob"}

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <:ResourceWarning")


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """kafka-python leaves those of a handshake that failed to the garbage collector."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWINTIDE_TEST_PASSWORD", PASSWORD)


def line_at(server: str, data_dir: Path, **kafka: Any) -> Line:
    section = {"bootstrap_servers": [server], "topic": f"clicks-{uuid4().hex[:8]}", **kafka}
    return Line(deployment_values(data_dir, kafka=section), partitions=1)


@pytest.mark.promise("X4")
@pytest.mark.parametrize(
    ("listener", "section"),
    [
        ("TLS", TLS),
        ("PASSWORD", LOGIN),
        ("BOTH", BOTH),
        ("SCRAM", SCRAM),
        ("SCRAM", SCRAM_512),
    ],
    ids=["TLS", "PASSWORD", "BOTH", "SCRAM-SHA-256", "SCRAM-SHA-512"],
)
def test_what_is_configured_as_the_broker_is_lets_us_in(
    own_kafka: SecuredKafka, tmp_path: Path, listener: str, section: dict[str, Any]
) -> None:
    """The control: every way in, with the right authority and password."""
    is_encrypted = section["security_protocol"].endswith("SSL")
    authority = {"ssl_cafile": str(own_kafka.authority)} if is_encrypted else {}
    line = line_at(own_kafka.broker.address(listener), tmp_path / "data", **section, **authority)
    create_topic(own_kafka.broker.bootstrap, line.deployment.kafka.topic, partitions=1)
    line.feed(range(10))
    line.catch_up()

    assert line.holds_every_event_once()


@pytest.mark.promise("X4")
@pytest.mark.parametrize(
    ("listener", "section", "said", "advised"),
    [
        ("TLS", {**TLS, "ssl_cafile": "other"}, "is not trusted", "ssl_cafile"),
        ("TLS", TLS, "is not trusted", "ssl_cafile"),
        ("TLS", {**TLS, "ssl_cafile": "garbage"}, "garbage cannot be used", "PEM"),
        ("ELSEWHERE", {**TLS, "ssl_cafile": "ours"}, "IP address mismatch", "certificates name"),
        ("MUTUAL", {**TLS, "ssl_cafile": "ours"}, "refuses the TLS connection", "client.auth"),
        ("PLAINTEXT", TLS, "speaks no TLS", "security_protocol"),
        ("PLAINTEXT", BOTH, "speaks no TLS", "security_protocol"),
        ("TLS", {}, "speaks TLS, but kafka.security_protocol is PLAINTEXT", "SSL"),
        ("BOTH", LOGIN, "speaks TLS, but kafka.security_protocol is SASL_PLAINTEXT", "SASL_SSL"),
        ("PASSWORD", {}, r"asks for a password \(PLAIN\)", "sasl_password_env"),
        ("PASSWORD", SCRAM, "no password by SCRAM-SHA-256, but by PLAIN", "sasl_mechanism"),
        (
            "PASSWORD",
            {**LOGIN, "sasl_username": "bob"},
            "does not let user bob in",
            "TEST_PASSWORD",
        ),
        ("SCRAM", LOGIN, "no password by PLAIN, but by SCRAM-SHA-", "sasl_mechanism"),
        ("SCRAM", {**SCRAM, "sasl_username": "bob"}, "does not let user bob in", "TEST_PASSWORD"),
        ("PLAINTEXT", LOGIN, "asks for no password", "security_protocol"),
    ],
)
def test_a_way_in_that_is_wrong_says_so(
    own_kafka: SecuredKafka,
    tmp_path: Path,
    listener: str,
    section: dict[str, Any],
    said: str,
    advised: str,
) -> None:
    """Which it is and what to mend, at once: no waiting would help."""
    garbage = tmp_path / "garbage"
    garbage.write_text("no certificate")
    authorities = {
        "ours": own_kafka.authority,
        "other": own_kafka.other_authority,
        "garbage": garbage,
    }
    kafka = own_kafka.broker
    server = kafka.bootstrap if listener == "PLAINTEXT" else kafka.address(listener)
    cafile = authorities.get(section.get("ssl_cafile", ""))
    config = KafkaConfig(
        **section | {"bootstrap_servers": (server,)} | ({"ssl_cafile": cafile} if cafile else {})
    )

    with pytest.raises(Refused, match=said) as refused, admin(config, timeout_seconds=0.2):
        pass
    assert advised in refused.value.hint
    assert PASSWORD not in str(refused.value)


@pytest.mark.promise("X3")
@pytest.mark.parametrize(
    ("listener", "section"),
    [("PASSWORD", LOGIN), ("SCRAM", SCRAM), ("SCRAM", SCRAM_512)],
    ids=["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"],
)
def test_a_wrong_password_ends_the_daemon_without_telling_it(
    own_kafka: SecuredKafka,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    listener: str,
    section: dict[str, Any],
) -> None:
    """Instead of trying it for ever; neither the message nor the log holds it."""
    monkeypatch.setenv("TWINTIDE_TEST_PASSWORD", f"wrong-{PASSWORD}")
    monkeypatch.setattr(client, "_GIVE_UP_SECONDS", 0.2)
    line = line_at(own_kafka.broker.address(listener), tmp_path / "data", **section)

    with pytest.raises(Refused, match="does not let user alice in") as refused:
        line.catch_up()
    assert "TWINTIDE_TEST_PASSWORD" in refused.value.hint
    captured = capsys.readouterr()
    assert PASSWORD not in captured.out + captured.err + str(refused.value)


def test_a_name_that_does_not_resolve_is_refused(tmp_path: Path) -> None:
    """With where to mend it."""
    line = line_at("no-such-host.invalid:9092", tmp_path / "data")

    expected = pytest.raises((Refused, Retryable), match="no-such-host")
    with expected as failed, admin(line.deployment.kafka, timeout_seconds=0.2):
        pass
    assert "bootstrap_servers" in failed.value.hint


def test_a_session_that_the_brokers_do_not_allow_is_refused(line: Callable[..., Line]) -> None:
    """A group's member may not be silent for so short a time: the key and its bounds are named."""
    made = line()
    made.values["kafka"] |= {"assignment": "group", "session_timeout_seconds": 0.5}

    with pytest.raises(Refused, match="silent") as refused:
        made.run_until_it_ends()
    assert "session_timeout_seconds" in refused.value.hint


def test_a_user_that_may_not_read_is_refused(own_kafka: SecuredKafka, tmp_path: Path) -> None:
    """Rather than taken for a topic that is not there yet."""
    carol = {**LOGIN, "sasl_username": "carol"}
    line = line_at(own_kafka.broker.address("PASSWORD"), tmp_path / "data", **carol)
    create_topic(own_kafka.broker.bootstrap, line.deployment.kafka.topic, partitions=1)

    with pytest.raises(Refused, match="TopicAuthorizationFailed") as refused:
        line.run_until_it_ends()
    assert "kafka.topic" in refused.value.hint
