import os
import signal
import socket
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

with warnings.catch_warnings():
    # It reads its own schemas by deprecated calls, once, on import; nothing that we could mend.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka.net.inet import KafkaNetSocket


# A busy machine is no fault of the code, and what was found belongs into a test of its own.
settings.register_profile(
    "house", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell SIGINT is ignored, and so it would be by all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _ClosedWhenForgotten(socket.socket):
    """kafka-python drops a socket that was refused, that was still connecting, or that had bytes
    to send when its client was closed. Whichever test runs when it is collected is not to blame.
    """

    def __del__(self) -> None:
        self.close()


def _socket(
    _: KafkaNetSocket,
    family: int = socket.AF_UNSPEC,
    kind: int = socket.SOCK_STREAM,
    proto: int = socket.IPPROTO_TCP,
) -> socket.socket:
    return _ClosedWhenForgotten(family, kind, proto)


KafkaNetSocket.socket = _socket


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a real Kafka: the one that is named, one in Docker, or one from pip."""
    from tests import kafka_fixture  # noqa: PLC0415  only who asks for Kafka loads Docker's client

    named = os.environ.get("TWINTIDE_TEST_KAFKA")
    if named:
        yield named
        return
    container = kafka_fixture.in_docker()
    if container is not None:
        with container as running:
            yield running.get_bootstrap_server()
        return
    with kafka_fixture.from_pip(tmp_path_factory.mktemp("kafka")) as local:
        yield local.bootstrap
