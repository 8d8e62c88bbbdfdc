"""Loading never runs code: every kind of artifact, hostile, under an audit hook."""

import io
import os
import pickle  # noqa: TID251  the attack
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from publisher.publish import publish
from streaming.offline import write_shards
from tests.publisher import checkpoint_fixture as made
from tests.twintide.test_arrays import HOSTILE, Attack
from tests.twintide.test_yaml12 import REFUSED
from twintide.arrays import MANIFEST, FileEntry
from twintide.checkpoints import read_manifest
from twintide.versions import INDEX, read_version_manifest

ROOT = Path(__file__).parents[2]
QUICKSTART = ROOT / "configs" / "quickstart.yaml"
PICKLED = pickle.dumps(Attack())


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """`sound` holds one of each kind, `hostile` many."""
    deployment = made.deployment_at(tmp_path / "data")
    made.add_checkpoint(deployment, 1, kind="nightly")
    publish(deployment, clock=made.held_clock())
    columns = deployment.events.arrow_schema()
    row = [1, 2, made.NOON, 3, "region", 0.5, ["news"]]
    cells = [pa.array([value], field.type) for value, field in zip(row, columns, strict=True)]
    write_shards(deployment, pa.table(cells, schema=columns))
    queries = made.queries_of(deployment, 3)
    cut = made.add_slice(deployment, 1, made.click_table(deployment, queries, _keys(3)), first=0)

    sound = tmp_path / "sound"
    shutil.copytree(deployment.checkpoints_dir, sound / "checkpoint-0")
    shutil.copytree(deployment.versions_dir, sound / "version-0")
    shutil.copytree(deployment.versions_dir, sound / "state-0")
    for name in ("config-0", "shard-0", "slice-0"):
        (sound / name).mkdir()
    shutil.copy(QUICKSTART, sound / "config-0" / "twintide.yaml")
    shutil.copy(next(deployment.shards_dir.rglob("*.parquet")), sound / "shard-0/shard.parquet")
    shutil.copy(cut.path, sound / "slice-0" / cut.path.name)

    hostile = tmp_path / "hostile"
    for number, (name, changes) in enumerate(_attacks(sound)):
        kind = name.partition("-")[0]
        shutil.copytree(sound / name, hostile / f"{kind}-{number}")
        for path, data in changes.items():
            (hostile / f"{kind}-{number}" / path).write_bytes(data)
    return tmp_path


def _keys(count: int) -> Any:
    return np.arange(1, count + 1).astype(np.uint64)


def _attacks(sound: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Of which artifact, and what is written over it."""
    for text in REFUSED.values():
        yield "config-0", {"twintide.yaml": text.encode()}
    for data in (PICKLED, b'{"__class__": "os.system"}', b"!!python/object/apply:os.system [id]"):
        yield "state-0", {"state.json": data}
        yield "checkpoint-0", {f"nightly-000001/{MANIFEST}": data}
        yield "version-0", {f"v000001/{MANIFEST}": data}
    checkpoint = read_manifest(sound / "checkpoint-0", "nightly-000001")
    version = read_version_manifest(sound / "version-0", "v000001")
    for data in HOSTILE.values():
        for folder, manifest, artifact in (
            ("checkpoint-0", checkpoint, "nightly-000001"),
            ("version-0", version, "v000001"),
        ):
            name = max(name for name in manifest.files if name.endswith(".npy"))
            files = manifest.files | {name: FileEntry.of(data)}  # a hash that fits
            sealed = manifest.model_copy(update={"files": files}).to_json()
            yield folder, {f"{artifact}/{name}": data, f"{artifact}/{MANIFEST}": sealed}
        yield "shard-0", {"shard.parquet": data}
        yield "slice-0", {"00000001.parquet": data}
    files = version.files | {INDEX: FileEntry.of(PICKLED)}
    sealed = version.model_copy(update={"files": files}).to_json()
    yield "version-0", {f"v000001/{INDEX}": PICKLED, f"v000001/{MANIFEST}": sealed}
    for kind, path in (("shard-0", "shard.parquet"), ("slice-0", "00000001.parquet")):
        yield kind, {path: _with_pickled_type(sound / kind / path)}


def _with_pickled_type(path: Path) -> bytes:
    """The same table, its first column of an extension type that Arrow used to unpickle."""
    table = pq.ParquetFile(path).read()
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": PICKLED,
    }
    schema = table.schema.set(0, table.schema.field(0).with_metadata(metadata))
    sink = io.BytesIO()
    pq.write_table(table.cast(schema), sink)
    return sink.getvalue()


@pytest.mark.promise("X1")
@pytest.mark.long
def test_loading_anything_never_runs_code(artifacts: Path) -> None:
    """Configurations, checkpoints, versions, states, shards and slices; hashes that fit as well."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.twintide.armed_loads", str(artifacts)],
        input=PICKLED.hex(),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-2000:]
    refused, read, heard = done.stdout.split(maxsplit=2)
    assert int(read) == len(list((artifacts / "sound").iterdir())) + 2  # the two pickled types
    assert int(refused) > 140
    assert "pickle.find_class" in heard  # the control: an unpickled array
