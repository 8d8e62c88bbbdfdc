import gc
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
    import kafka as _kafka_python  # noqa: F401


# A busy machine is no fault of the code, and what was found belongs into a test of its own.
settings.register_profile(
    "house", deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")


def pytest_configure(config: pytest.Config) -> None:
    # In the background of a shell SIGINT is ignored, and so it would be by all that tests start.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # kafka-python leaves the socket of a connection that was refused to the garbage collector.
    refused = r"ignore:unclosed <socket.*laddr=..0\.0\.0\.0:ResourceWarning"
    config.addinivalue_line("filterwarnings", refused)


@pytest.fixture(scope="session", autouse=True)
def _no_refused_connection_outlives_the_session() -> Iterator[None]:
    """What is collected after the last test is beyond the filter above."""
    yield
    for each in gc.get_objects():
        # By type(): isinstance asks objects for their __class__, and some of torch's warn at that.
        if issubclass(type(each), socket.socket) and each.fileno() >= 0 and is_refused(each):
            each.close()


def is_refused(each: socket.socket) -> bool:
    return each.family == socket.AF_INET and each.getsockname()[0] == "0.0.0.0"


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
