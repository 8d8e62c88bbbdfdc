import os
import signal
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

with warnings.catch_warnings():
    # It reads its own schemas by deprecated calls, once, on import; nothing that we could mend.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    from kafka.net.inet import KafkaNetSocket


# Before anything loads OpenMP: threads that wait for each other by spinning, in more workers than
# there are cores, made two tests of Faiss take 200 seconds of processor time, and 1 alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_NAMED = "TWINTIDE_TEST_KAFKA"

# A busy machine is no fault of the code, and what was found belongs into a test of its own.
settings.register_profile(
    "house", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell SIGINT is ignored, and so it would be by all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    _share_kafka(config)


def _share_kafka(config: pytest.Config) -> None:
    """Where several workers run tests, whoever leads them starts one Kafka for all."""
    leads = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if leads and not config.option.collectonly:
        running = ExitStack()
        config.add_cleanup(running.close)
        os.environ[_NAMED] = running.enter_context(_real_kafka())


class _ClosedWhenForgotten(socket.socket):
    """kafka-python drops a socket that was refused, that was still connecting, or that had bytes
    to send when its client was closed. Whichever test runs when it is collected is not to blame.
    """

    def __del__(self) -> None:
        self.close()


class _SecuredAndClosedWhenForgotten(ssl.SSLSocket):
    """The same of those that were to speak TLS."""

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
ssl.SSLContext.sslsocket_class = _SecuredAndClosedWhenForgotten


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """host:port of a real Kafka, one for all workers."""
    with _real_kafka() as bootstrap:
        yield bootstrap


@contextmanager
def _real_kafka() -> Iterator[str]:
    """host:port of the one that is named, of one in Docker, or of one from pip."""
    if named := os.environ.get(_NAMED):
        yield named
        return
    from tests import kafka_fixture  # noqa: PLC0415  only who starts a Kafka loads Docker's client

    if (container := kafka_fixture.in_docker()) is not None:
        with container as running:
            yield running.get_bootstrap_server()
    else:
        with TemporaryDirectory() as folder, kafka_fixture.from_pip(Path(folder)) as local:
            yield local.bootstrap
