"""A deployment with a file of items, and what such a file may hold."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from twintide import config
from twintide.config import Deployment

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
ITEMS = {"file": "items.parquet", "available_column": "in_stock", "listed_at_column": "since"}


def write(path: Path, **columns: Any) -> Path:
    """A file of items in place of the one before, renamed over it."""
    hidden = path.with_name(f".{path.name}.new")
    pq.write_table(pa.table(columns), hidden)
    hidden.rename(path)
    return path


def deployment_of(file: Path, **said: Any) -> Deployment:
    """The quickstart with this source of items; its data lies beside the file."""
    changes = {"data_dir": str(file.parent / "data"), "items": {"file": str(file)} | said}
    return config.fill_in(config.load(QUICKSTART), changes)
