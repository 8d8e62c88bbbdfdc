"""Run the server, or answer once.

A server starts before there is a version, says so, and answers as soon as one is live. SIGTERM and
Ctrl-C let running requests finish.
"""

import gc
import json
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from publisher.reader import load_version, prepare_to_answer
from serving.answer import Answer
from serving.app import create_app
from serving.at_once import Application
from serving.connections import Connection, Limits, Lobby, limits_of
from serving.follower import Follower
from serving.lately import LatelyClicked
from serving.log import BoundedLog, take_over_library_logs
from serving.metrics import COUNTED, count_across_processes, sweep_counted
from serving.page.pages import Pages
from serving.page.snapshot import Looker
from serving.popular import RecentClicks
from serving.request import id_from_text, parse_request
from serving.retriever import Retriever
from serving.served import forget
from serving.workers import Workers
from twintide.blocklist import read_blocklist
from twintide.clock import Clock
from twintide.config import Deployment, ServingConfig
from twintide.errors import Refused
from twintide.shards import Ledger
from twintide.telemetry import get_log
from twintide.versions import read_state

KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 s of common load balancers, which must be the ones to hang up: a request that
meets a closing connection is lost.
"""

QUEUE = 1024
"""Connections that the kernel keeps until they are taken."""

SWITCH_SECONDS = 0.001
"""How long the thread of large requests may go on while a small one waits."""

GOODBYE_SECONDS = 5
"""How long running requests may take to finish at the end."""

log = get_log("serving")


class HttpServer(uvicorn.Server):
    """uvicorn, with bounds on connections."""

    def __init__(self, app: Application, limits: Limits, log: BoundedLog) -> None:
        http: Any = partial(Connection, lobby=Lobby(limits, log), at_once=app.at_once)
        super().__init__(
            uvicorn.Config(
                app,
                http=http,
                loop="asyncio",  # `connections` speaks to its transports
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # nobody asks who the client is
                lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=GOODBYE_SECONDS,
                # asyncio takes so many in one go, before any of them can be turned away: a burst
                # would pass the bound, and use up the files that the process may open.
                backlog=1,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """uvicorn's; then those who come in a burst may queue up all the same."""
        await super().startup(sockets)
        for listener in sockets or []:
            listener.listen(QUEUE)


def serve(deployment: Deployment, config_file: Path, *, clock: Clock) -> None:
    """Answer HTTP requests until SIGTERM; the status page names the file in its commands.

    Raises Refused where the address cannot be had.
    """
    config = deployment.serving
    token = config.token()
    listener = listen(config)
    looker = Looker(deployment, config_file, clock=clock)
    work = partial(answer_at, listener, deployment, looker, token=token, clock=clock)
    first = partial(work, before=lambda _: None)  # /livez answers while a version is loaded
    if config.workers == 1:
        first()
    else:
        sweep_counted(Path(tempfile.gettempdir()))
        with tempfile.TemporaryDirectory(prefix=f"{COUNTED}{os.getpid()}-") as counted:
            count_across_processes(Path(counted))
            later = partial(work, before=Follower.look)  # meanwhile the others answer
            Workers(
                config.workers,
                first,
                later=later,
                forget=partial(forget, Path(counted)),
                ending=listener.close,
            ).run()
    log.info("server_ended")


def answer_at(
    listener: socket.socket,
    deployment: Deployment,
    looker: Looker,
    *,
    token: str | None,
    clock: Clock,
    before: Callable[[Follower], None],
) -> None:
    """One process that answers, until SIGTERM; `before` is done before it takes connections."""
    config = deployment.serving
    settle()
    bounded = BoundedLog()
    take_over_library_logs(bounded)
    follower = Follower(
        deployment.versions_dir,
        clock=clock,
        max_k=config.max_k,
        poll_seconds=config.poll_seconds,
        errors_above=config.rollback_when_errors_above,
        clicks=recent_clicks(deployment) if config.before_first_version == "popularity" else None,
        lately=lately_clicked(deployment) if config.unknown_users == "with_popularity" else None,
    )
    app = create_app(
        follower,
        clock=clock,
        token=token,
        log=bounded,
        metrics_need_token=config.metrics == "token",
        log_ratio=config.access_log_ratio,
        pages=Pages(looker.look, lambda: follower.standing, clock=clock),
    )
    before(follower)
    connections = -(-config.max_connections // config.workers)
    server = HttpServer(app, limits_of(connections, bounded), bounded)
    # uvicorn raises the signal again when it has ended; this handler makes that an exit code 0.
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: setattr(server, "should_exit", True))
    follows = threading.Thread(target=follower.run, name="follower", daemon=True)
    follows.start()
    log.info("server_started", host=config.host, port=listener.getsockname()[1])
    try:
        server.run(sockets=[listener])
    finally:
        follower.stop()
        follows.join()


def settle() -> None:
    """Once in a process that answers, when all is imported."""
    sys.setswitchinterval(SWITCH_SECONDS)
    prepare_to_answer()
    gc.freeze()  # what is imported stays: to look through it takes long


def recent_clicks(deployment: Deployment) -> RecentClicks:
    """What was clicked of late, before there is a version."""
    return RecentClicks(
        Ledger(deployment.shards_dir, deployment.kafka.topic),
        deployment.events,
        deployment.model,
        deployment.publishing.filters,
        max_k=deployment.serving.max_k,
    )


def lately_clicked(deployment: Deployment) -> LatelyClicked:
    """What most users clicked in the last hour or two."""
    ledger = Ledger(deployment.shards_dir, deployment.kafka.topic)
    return LatelyClicked(ledger, deployment.events)


def recommend(
    deployment: Deployment,
    *,
    user_id: str,
    clock: Clock,
    k: int | None = None,
    recent: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    features: dict[str, Any] | None = None,
    objectives: dict[str, Any] | None = None,
) -> Answer:
    """One answer of the live version; ids as a person types them.

    Raises Refused before the first version, and where the request does not fit the events.
    """
    live = read_state(deployment.versions_dir).current
    if live is None:
        raise Refused(
            "no version is live yet, so there is nothing to recommend from",
            hint="`twintide publish -c FILE` makes one live",
        )
    if k is not None and k < 1:
        raise Refused(f"k is {k}; it must be at least 1", hint="such as -k 10")
    version = load_version(deployment.versions_dir, live)
    events = version.manifest.events

    def items(texts: Sequence[str]) -> list[str | int]:
        return [id_from_text(text, events, events.item, what="an item id") for text in texts]

    request = {
        "user_id": id_from_text(user_id, events, events.user, what="the user id"),
        **({} if k is None else {"k": k}),
        "features": features or {},
        "recent": None if recent is None else items(recent),
        "objectives": objectives,
        "exclude": items(exclude),
    }
    retriever = Retriever(version, clock=clock, max_k=deployment.serving.max_k)
    retriever = retriever.without(read_blocklist(deployment.versions_dir).keys())
    return retriever.answer(parse_request(json.dumps(request).encode()))


def listen(config: ServingConfig) -> socket.socket:
    """Take the address. Raises Refused where it cannot be had."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        listener = socket.create_server((config.host, config.port), family=family)
        # asyncio leaves Nagle's delay on for sockets that it did not make: 40 ms on every answer.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(
            f"cannot listen on {config.host} port {config.port}: {why}",
            hint="set serving.host and serving.port, or end what holds the port",
        ) from error
    return listener
