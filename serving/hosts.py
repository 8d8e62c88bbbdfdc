"""Whom a server without a token answers: who calls it by a name that no stranger can have.

A site that a browser looks at may let its own name lead to this machine, and then reads what is
answered there (DNS rebinding). Such a name has a dot and is no address.
"""

import ipaddress
import json
import re
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.at_once import Headers

STATUS = 421
_PORT = re.compile(r":[0-9]*$")
_REFUSAL = json.dumps(
    {
        "message": "the server is called by a name that is not its own",
        "hint": "call it localhost or by its address, or let it ask for a token: serving.token_env",
    }
).encode()
_HEAD = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_REFUSAL)).encode()),
]


class OwnNames:
    """In the place of a token."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if self.lets_in(scope["path"], scope["headers"]):
            await self._app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": STATUS, "headers": _HEAD})
        await send({"type": "http.response.body", "body": _REFUSAL})

    def lets_in(self, _: str, headers: Headers) -> bool:
        """Whether it is called by a name of its own, whatever the path."""
        return all(is_own(value) for name, value in headers if name == b"host")


@lru_cache(maxsize=256)
def is_own(host: bytes) -> bool:
    """Whether a Host header can be meant for this machine: an address, or a name that is known
    here alone.
    """
    name = _PORT.sub("", host.decode("latin-1")).strip("[]").rstrip(".").lower()
    if "." not in name or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
