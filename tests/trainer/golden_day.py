"""The golden day: one night and two hours of a small stream, trained with every kind of feature.

What they give is kept in `golden/`, so that whoever moves a wall sees that no number changed. Only
a change that means to change numbers writes it anew: python -m tests.trainer.golden_day
"""

import hashlib
import io
import json
import re
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from streaming.offline import write_shards
from tests.trainer.conftest import DAYS, Line, at, deployment_in, small_stream
from twintide.arrays import Arrays
from twintide.checkpoints import Checkpoint
from twintide.model.two_tower import best_device

GOLDEN = Path(__file__).parent / "golden"
ARRAYS, DIGESTS = GOLDEN / "day.npz", GOLDEN / "day.json"

EVERY_KIND = {
    "model": {
        "embedding_width": 8,
        "tower": {"kind": "dnn", "hidden": [16]},
        "output_width": 8,
        "query": [
            {"kind": "sparse", "name": "user", "column": "user_id", "table": "user"},
            {"kind": "history", "name": "history", "table": "item", "length": 5},
            {"kind": "hour_of_day", "name": "hour", "table": "hour", "time_zone": "Asia/Kolkata"},
            {"kind": "sparse", "name": "region", "column": "region", "table": "region"},
        ],
        "candidate": [
            {"kind": "sparse", "name": "item", "column": "item_id", "table": "item"},
            {"kind": "varlen", "name": "topics", "column": "topics", "table": "topic"},
            {"kind": "dense", "name": "length", "column": "watch_seconds", "transform": "log1p"},
            {"kind": "item_statistics", "name": "statistics"},
        ],
    }
}


def trained(line: Line) -> dict[str, Checkpoint]:
    """The checkpoints of the golden day, by name."""
    return {each.manifest.name: each for each in (line.night(0), line.hour(1, 2), line.hour(1, 5))}


def arrays_of(checkpoints: dict[str, Checkpoint]) -> Arrays:
    """Every array and every column of a catalogue, as `<checkpoint>/<name>`."""
    found: Arrays = {}
    for name, checkpoint in checkpoints.items():
        found |= {f"{name}/{_as_kept(key)}": array for key, array in checkpoint.arrays.items()}
        for column in checkpoint.catalogue.column_names:
            values = checkpoint.catalogue[column].combine_chunks()
            while values.type.num_fields:  # a list: its values, one after the other
                values = values.flatten()
            found[f"{name}/catalogue.{column}"] = values.to_numpy(zero_copy_only=False)
    return found


def _as_kept(name: str) -> str:
    """Format 1 had the sums of a table's rows as an array of its own; the numbers are the same."""
    return re.sub(r"^table\.(.*)\.sums$", r"optimizer.rows.\1", name)


def digests_of(arrays: Arrays) -> dict[str, str]:
    """sha256 of each array's bytes, type and shape."""
    return {
        name: hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest()
        for name, array in sorted(arrays.items())
    }


UNDECIDED = "dense.bias.bias"
"""A softmax does not see what all scores have in common, so the gradient of this one is what
rounding left of zero, and Adam makes whole steps of it: each machine has a value of its own.
"""


def machine() -> dict[str, str]:
    """What decides the last bit of a float: another processor adds up in another order."""
    capability = torch.backends.cpu.get_cpu_capability()
    found = {"torch": torch.__version__, "numpy": np.__version__, "cpu": capability}
    return found if best_device().type == "cpu" else found | {"device": best_device().type}


def kept() -> tuple[Arrays, dict[str, Any]]:
    """The golden arrays, and what is known of them."""
    with np.load(io.BytesIO(ARRAYS.read_bytes()), allow_pickle=False) as file:
        return dict(file), json.loads(DIGESTS.read_text(encoding="utf-8"))


def keep(arrays: Arrays) -> None:
    """Make these the golden ones."""
    GOLDEN.mkdir(exist_ok=True)
    with zipfile.ZipFile(ARRAYS, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            with file.open(f"{name}.npy", "w") as entry:
                np.save(entry, array, allow_pickle=False)
    known = {"made_on": machine(), "digests": digests_of(arrays)}
    DIGESTS.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        own = deployment_in(Path(folder), EVERY_KIND)
        write_shards(own, small_stream(own), partitions=2, complete_until=at(DAYS, 1))
        keep(arrays_of(trained(Line(own))))
