"""The docs are true: their commands run, and they leave out no command, option, metric or path."""

import asyncio
import re
import shlex
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from serving.app import create_app
from serving.follower import Follower
from serving.log import BoundedLog
from serving.metrics import Metrics
from serving.request import parse_batch, parse_request
from streaming.metrics import IngestMetrics
from tests import commands
from tests.console.conftest import ROOT, Twintide
from trainer.metrics import TrainMetrics
from twintide import config, yaml12
from twintide.clock import SystemClock

DOCS = ROOT / "docs"


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def blocks(name: str, kind: str) -> list[str]:
    """The fenced blocks of a page that are marked so."""
    return re.findall(rf"```{kind}\n(.*?)```", text_of(name), re.DOTALL)


@pytest.mark.timeout(400)  # a dozen commands, on a machine that may have other work
@pytest.mark.long
def test_the_tutorial_works_as_it_is_written(
    twintide: Twintide, kafka: str, tmp_path: Path
) -> None:
    """Each block as a reader copies it: to an answer, and a status that finds nothing wrong. Only
    Kafka is another, and only the list is evaluated, for the time that models take.
    """
    (program,) = blocks("tutorial.md", "python")
    exec(program, {})  # noqa: S102  the page's own words
    (config,) = blocks("tutorial.md", "yaml")
    own = config.replace("127.0.0.1:9092", kafka).replace(
        "topic: my-shop", f"topic: my-shop-{uuid4().hex[:8]}"
    )
    (tmp_path / "twintide.yaml").write_text(own)

    said = {}
    for line in "".join(blocks("tutorial.md", "sh")).splitlines():
        done = twintide(*shlex.split(re.sub(r" --policy nightly\S*", "", line))[1:])
        assert done.code == 0, (line, done.err)
        said[line] = done.out

    answer = said["twintide recommend --user-id u7 -k 5"]
    assert len(re.findall(r"^ *\d+ +i\d+ ", answer, re.MULTILINE)) == 5
    assert "Nothing is wrong." in said["twintide status"], said["twintide status"]


def test_every_command_and_option_is_documented() -> None:
    """Made anew by `python -m tests.commands`; none is without a word of help."""
    page = commands.page()

    assert commands.PAGE.read_text(encoding="utf-8") == page
    assert "|  |  |" not in page


def test_what_the_models_page_declares_is_right_and_what_it_names_is_a_test() -> None:
    """Each `key: value` of a table makes a sound configuration with the quickstart's rest."""
    page = text_of("models.md")
    quickstart = config.load(ROOT / "configs" / "quickstart.yaml")
    declared = re.findall(r"^\| [^|]+ \| `(\w+: [^`]+)` \|", page, re.MULTILINE)
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)

    assert len(declared) > 5
    for each in declared:
        said = yaml12.parse(each, name=each)
        is_section = set(said) <= set(config.Deployment.model_fields)
        config.fill_in(quickstart, said if is_section else {"model": said})
    for file, test in named:
        assert f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), test


def names_in(registry: CollectorRegistry) -> set[str]:
    """As Prometheus sees them."""
    return {each.name + ("_total" if each.type == "counter" else "") for each in registry.collect()}


def test_every_metric_is_documented_and_no_other(tmp_path: Path) -> None:
    """What a scraper finds of ingest, training and a server is in the list, by its name there."""
    follower = Follower(tmp_path, clock=SystemClock(), max_k=10, poll_seconds=1.0)
    served = names_in(Metrics(follower, clock=SystemClock()).registry)
    found = names_in(IngestMetrics().registry) | served | once_a_version_is_live()
    found |= names_in(TrainMetrics(SystemClock()).registry)

    listed = set(re.findall(r"`(twintide_\w+)`", text_of("metrics.md")))

    assert listed == found


def once_a_version_is_live() -> set[str]:
    """Those that a server without a version has none of, as the code names them."""
    code = (ROOT / "serving" / "metrics.py").read_text(encoding="utf-8")
    return set(re.findall(r'GaugeMetricFamily\(\s*"(twintide_\w+)"', code))


async def described_by(app: ASGIApp) -> dict[str, Any]:
    """The paths of /openapi.json."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        paths: dict[str, Any] = (await client.get("/openapi.json")).json()["paths"]
        return paths


def test_every_path_is_documented_and_every_request_of_the_page_is_one(tmp_path: Path) -> None:
    """The bodies that readers copy are accepted, and no path of the server is missing."""
    page = text_of("http.md")
    follower = Follower(tmp_path, clock=SystemClock(), max_k=10, poll_seconds=1.0)
    app = create_app(follower, clock=SystemClock(), token=None, log=BoundedLog())
    paths = asyncio.run(described_by(app))

    assert {"/v1/recommend", "/readyz", "/metrics"} <= set(paths)
    for path in (*paths, "/openapi.json"):
        assert path in page
    bodies = re.findall(r"recommend -d '(\{.*?\})'", page, re.DOTALL)
    batches = re.findall(r"batch -d '(\{.*?\})'", page, re.DOTALL)
    assert len(bodies) > 1
    for body in bodies:
        assert parse_request(body.encode()).user_id == 7
    for batch in batches:
        assert len(parse_batch(batch.encode())) > 1
    fields = {each.name for each in msgspec.structs.fields(type(parse_request(b'{"user_id": 7}')))}
    assert fields <= set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    """Files that a page names are there, beside it or from the root."""
    for name in re.findall(r"\]\(([^)#:]+)\)|`([\w-]+\.md)`", page.read_text(encoding="utf-8")):
        target = next(each for each in name if each)
        assert (page.parent / target).exists() or (ROOT / target).exists(), target
