"""What docs/http.md shows runs as it stands: by curl and from Python, against a real server."""

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from publisher.publish import publish
from tests.publisher import checkpoint_fixture as made
from tests.serving.test_rollback_under_load import Server, wait_until
from twintide.config import parse

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
CURLS = re.findall(r"^    (curl .*?)(?:  #.*)?$((?:\n      .*)*)", PAGE, re.MULTILINE)
PROGRAMS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PORT = "localhost:8080"

pytestmark = pytest.mark.long  # a server process for the file


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a server whose events and model have the columns and objectives of the page."""
    folder = tmp_path_factory.mktemp("page")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    values = made.configuration(folder / "data", serving={"port": port})
    values["events"]["columns"]["region"] = "int64"
    values["model"]["objectives"] = {"click": {}, "like": {"loss": {"kind": "bpr"}}}
    deployment = parse(values, name="the page's configuration")
    made.add_checkpoint(deployment, 1)
    publish(deployment, clock=made.held_clock())
    config = folder / "twintide.yaml"
    config.write_text(json.dumps(values))
    server = Server(config, port, log=folder / "log")
    try:
        wait_until(lambda: server.readiness() == 200, seconds=60)
        yield f"127.0.0.1:{port}"
    finally:
        server.end()


def run(command: str, address: str) -> str:
    done = subprocess.run(
        ["sh", "-c", command.replace(PORT, address)], capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("command", ["".join(each) for each in CURLS])
def test_every_curl_of_the_page_is_answered(address: str, command: str) -> None:
    """As a reader copies it: no error, and in JSON but for the metrics."""
    said = run(command, address)

    if "/metrics" in command:
        assert "twintide_version" in said
    else:
        assert "message" not in json.loads(said)


def test_answers_have_the_keys_that_the_page_shows(address: str) -> None:
    """Neither more nor fewer, in what is recommended and in what is served."""
    for path in ("recommend", "version"):
        shown = re.search(rf"/v1/{path}.*?\n\n    (\{{.*?\}})\n\n", PAGE, re.DOTALL)
        command = next("".join(each) for each in CURLS if f"/v1/{path}" in each[0])

        assert shown
        assert set(json.loads(run(command, address))) == set(json.loads(shown[1])), path


@pytest.mark.parametrize("program", PROGRAMS, ids=["sync", "async"])
def test_every_program_of_the_page_runs(
    address: str, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And prints what it recommends."""
    exec(program.replace(PORT, address), {})  # noqa: S102  the page's own words

    assert re.search(r"\[\d{4}, ", capsys.readouterr().out)
