"""What each of several processes serves, so that a scrape of any of them shows all.

A process writes a small file of its own when that changes; whoever started it takes the file away
when the process has ended.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from serving.follower import Follower
from twintide.clock import to_unix_ms
from twintide.files import publish_file, remove_file
from twintide.versions import VersionManifest

PREFIX, SUFFIX = "serves-", ".json"


class Served(msgspec.Struct, frozen=True):
    """A version that a process serves."""

    name: str
    checkpoint: str
    items: int
    newest_event_ms: int | None
    newest_counted_ms: int | None
    """Of the newest click that is counted, learnt or not."""


class Serves(msgspec.Struct, frozen=True):
    """Where a process stands."""

    has_problem: bool
    """Whether what it serves is not what is live."""

    blocked_items: int
    has_blocklist_problem: bool
    version: Served | None

    @classmethod
    def by(cls, follower: Follower) -> "Serves":
        """Of this process."""
        standing, blocked = follower.standing, follower.blocked
        return cls(
            has_problem=standing.problem is not None,
            blocked_items=len(blocked.keys),
            has_blocklist_problem=blocked.problem is not None,
            version=_version(standing.retriever.version.manifest) if standing.retriever else None,
        )


def _version(manifest: VersionManifest) -> Served:
    newest, told = manifest.newest_event_at, manifest.newest_counted_at
    return Served(
        manifest.name,
        manifest.checkpoint,
        manifest.items,
        None if newest is None else to_unix_ms(newest),
        None if told is None else to_unix_ms(told),
    )


def tell_others(folder: Path, serves: Serves) -> None:
    """From now on others find this where they ask for what this process serves."""
    publish_file(_file_of(folder, os.getpid()), msgspec.json.encode(serves))


def told_by_others(folder: Path) -> Iterator[Serves]:
    """What the other processes serve."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with suppress(FileNotFoundError):  # it has ended
            if path != _file_of(folder, os.getpid()):
                yield msgspec.json.decode(path.read_bytes(), type=Serves)


def forget(folder: Path, process: int) -> None:
    """It has ended, and serves nothing."""
    remove_file(_file_of(folder, process))


def _file_of(folder: Path, process: int) -> Path:
    return folder / f"{PREFIX}{process}{SUFFIX}"
