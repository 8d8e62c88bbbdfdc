"""Which backends there are. A new one is a folder beside this file and its line here."""

from importlib import import_module
from typing import Any, cast

from publisher.index.backend import Backend

BACKENDS = {
    "faiss": "publisher.index.faiss.backend",
    "milvus": "publisher.index.milvus.backend",
}
"""By the name that the configuration and manifests have for it; imported by whoever needs it."""


def backend_called(name: str) -> Backend[Any]:
    """The backend of that name: a module of these functions."""
    return cast("Backend[Any]", import_module(BACKENDS[name]))
