"""`serving:`, the HTTP server."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PositiveInt

from twintide.config.section import Config, Variable, secret_in
from twintide.errors import Refused

MIN_TOKEN_CHARACTERS = 16
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def _host(name: str) -> str:
    if not _HOST.fullmatch(name):
        raise ValueError(f"{name!r} is no address or name of this machine, such as 127.0.0.1")
    return name


class ServingConfig(Config):
    """The HTTP server."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """Address to listen on. Others than loopback ask for a token."""

    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    """0 takes any that is free."""

    token_env: Variable | None = None
    """Name of the environment variable that holds the bearer token, which must be at least 16
    characters. Needed when `host` is not loopback.
    """

    metrics: Literal["token", "open"] = "token"
    """Who may read /metrics: whoever has the bearer token, or everybody who reaches the port, as a
    scraper without a token needs it. Metrics name versions and count answers, no user and no item.
    """

    access_log_ratio: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the requests that have a line in the log: route, status, milliseconds, version,
    worker; no user and no item. 1: each.
    """

    max_k: PositiveInt = 1000
    """The most items that one request may ask for."""

    max_connections: Annotated[int, Field(ge=1, le=100_000)] = 1000
    """Where there are more, the one that has waited longest without a request is closed."""

    before_first_version: Literal["refuse", "popularity"] = "refuse"
    """How requests are answered until a version is live. `refuse`: with 503; `popularity`: with
    what was clicked most in the last 24 hours of the shards, which a server reads for that, and
    marked as such.
    """

    unknown_users: Literal["model", "with_popularity"] = "with_popularity"
    """How users are answered of whom neither the version nor the request says anything (no row, no
    history, no `recent`, `histories` or `objectives`). `with_popularity`: by the model and by what
    most users clicked in the last hour or two of the shards, both lists as one, and marked; a
    server reads these shards for that, and where there are too few clicks the model alone answers.
    """

    rollback_when_errors_above: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    """A server goes back by itself from a version of whose answers a larger share fails (500), of
    the latest 1,000 or so and at least 100, where the version before answers what failed; or that
    is damaged or fails its smoke test twice. One step, recorded as a rollback, so that promotion is
    on hold. Null: never.
    """

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Processes that answer behind the one address, such as one for each core: they share the files
    of a version in memory, and `max_connections`. /metrics of any of them is of all.
    """

    poll_seconds: Annotated[float, Field(gt=0, le=5)] = 0.2
    """How often the server looks whether another version is live, and which items are blocked."""

    def token(self) -> str | None:
        """The token out of the environment. Raises Refused where the variable is not set."""
        token = secret_in(self.token_env, key="serving.token_env", what="bearer token")
        if token is None:
            return None
        if len(token) < MIN_TOKEN_CHARACTERS or not (token.isascii() and token.isprintable()):
            raise Refused(
                f"the token in {self.token_env} can be guessed or not be sent: it must be at least "
                f"{MIN_TOKEN_CHARACTERS} printable ASCII characters",
                hint=f"export {self.token_env}=$(openssl rand -hex 24)",
            )
        return token
