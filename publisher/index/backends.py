"""Which backends there are. A new one is a folder beside this file and its line here."""

from typing import Any

from publisher.index.backend import Backend
from publisher.index.faiss import backend as faiss

BACKENDS: dict[str, Backend[Any]] = {"faiss": faiss}
"""By the name that the configuration and manifests have for it."""
