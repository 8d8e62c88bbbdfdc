import os
import warnings
from collections.abc import Iterator

import pytest

with warnings.catch_warnings():
    # It reads its own schemas by deprecated calls, once, on import; nothing that we could mend.
    warnings.filterwarnings("ignore", "(read|open)_text is deprecated", DeprecationWarning)
    import kafka as _kafka_python  # noqa: F401


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
