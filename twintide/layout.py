"""Make the folders of ingest ready: shards below `shards/`, all else beside it.

Format 1 kept watermarks, locks and quarantine files among the shards, where they stood in the way
of every reader of the whole folder. What is found there is moved, once; after a crash, again.
"""

import re
from pathlib import Path

from twintide.errors import Corrupt, Refused
from twintide.files import (
    make_folder,
    move_once,
    remove_file,
    remove_folder,
    sweep_temporaries,
)
from twintide.shardfile import hour_folder
from twintide.shards import Ledger, Watermark, hour_of, ledger_folder

_MARK = "layout-2"
"""An empty folder, which is there whole or not at all: shards/ holds shards, and nothing else."""

_GROWS = "quarantine"
"""The one folder that grows with the days so far; its files are begun beside claims."""

_QUARANTINE = re.compile(r"^_(?P<topic>.+)-\d{5}-\d{20}-[0-9a-f]+\.quarantine\.arrow$")


def make_ready(shards_dir: Path) -> int:
    """Make both folders and sweep what crashed writers left; returns how much that was.

    Raises Refused where the two are on different file systems.
    """
    ledger = ledger_folder(shards_dir)
    make_folder(shards_dir)
    make_folder(ledger)
    if shards_dir.stat().st_dev != ledger.stat().st_dev:
        raise Refused(
            f"{shards_dir} and {ledger} are on different file systems, and hard links between the "
            "two commit shards",
            hint=f"mount the folder above both ({ledger.parent}), or let folders.shards name a "
            "folder one deeper in the volume",
        )
    swept = sweep(ledger)
    if not (ledger / _MARK).exists():
        swept += sweep_temporaries(shards_dir, older_than_seconds=0)
        _move_watermarks(shards_dir)
        _move_quarantine(shards_dir, ledger)
        if (shards_dir / "_locks").is_dir():
            remove_folder(shards_dir / "_locks")
        make_folder(ledger / _MARK)
    return swept


def sweep(ledger: Path, *, older_than_seconds: float = 3600.0) -> int:
    """Remove what crashed writers of the ledger left; returns how much that was."""
    return sum(
        sweep_temporaries(folder, older_than_seconds=older_than_seconds)
        for folder in sorted(ledger.iterdir())
        if folder.is_dir() and folder.name != _GROWS
    )


def _move_watermarks(shards_dir: Path) -> None:
    old = shards_dir / "_watermarks"
    if not old.is_dir():
        return
    for path in sorted(old.glob("*.json")):
        try:
            mark = Watermark.from_json(path.read_bytes(), name=str(path))
        except (Corrupt, FileNotFoundError):  # written anew within a minute, or moved by a rival
            continue
        ledger = Ledger(shards_dir, mark.topic)
        if not ledger.watermark_path(mark.partition).exists():
            ledger.publish_watermark(mark)
    remove_folder(old)


def _move_quarantine(shards_dir: Path, ledger: Path) -> None:
    for path in sorted(shards_dir.glob("date=*/hour=*/_*.quarantine.arrow")):
        match = _QUARANTINE.match(path.name)
        if match is None:
            continue
        own = hour_folder(ledger / "quarantine" / match["topic"], hour_of(path.parent)) / path.name
        try:
            move_once(path, own)
        except FileExistsError:  # a crash between the two halves of the move
            remove_file(path)
        except FileNotFoundError:  # a rival moves them as well
            continue
