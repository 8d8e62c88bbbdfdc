"""Fixed vectors as the trainer, the publisher and servers read them: mapped, and named by content.

A file of vectors becomes a store once: a folder whose name is a sha256 of the file's own and of
which columns were taken. Checkpoints and versions name a store, with the sha256 of each of its
files; no vector is copied into them. Training makes stores, and gc removes those that nothing
names.

    keys.npy      uint64 [N], ascending: which ids have a vector
    rows.npy      int64 [N]: the row of each
    vectors.npy   float32 [N + 1, width], in the order of the file; row 0 is zero, of unknown ids
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from twintide.arrays import MANIFEST, Files, map_array, write_arrays, write_matrix
from twintide.errors import Corrupt, unreadable
from twintide.features.kind import SIDES, Side
from twintide.files import (
    exclusive_lock,
    make_folder,
    mark_used,
    publish_folder_once,
    sweep_temporaries,
    write_and_fsync,
)
from twintide.keys import Keys, places_of
from twintide.modelspec import WIDEST, ModelSpec, TableSpec
from twintide.records import Record
from twintide.telemetry import get_log
from twintide.vectorfile import Floats, VectorFile, opened

KEYS, ROWS, VECTORS = "keys", "rows", "vectors"
UNKNOWN_ROW = 0
_SHA256 = re.compile(r"^[0-9a-f]{64}$")
_LONGEST_MAKING_SECONDS = 24 * 3600.0

log = get_log("vectors")

Sha256 = Annotated[str, Field(pattern=_SHA256.pattern)]


class VectorsRef(Record):
    """A store, as checkpoints and versions name it; also its own manifest.json."""

    format: Literal[1] = 1
    name: Sha256
    """Of its folder."""

    source_sha256: Sha256
    """Of the file that it was made from."""

    ids_sha256: Sha256 | None
    """Of the file of ids, where they had one of their own."""

    id_column: str
    vector_column: str
    ids: Literal["strings", "whole numbers"]
    count: Annotated[int, Field(ge=1, lt=2**48)]
    """Ids that have a vector."""

    width: Annotated[int, Field(ge=1, le=WIDEST)]
    files: Files


VectorsRefs = dict[str, VectorsRef]
"""Table -> its vectors."""


@dataclass(frozen=True)
class Vectors:
    """An open store."""

    keys: Keys
    """uint64 [N], ascending."""

    _rows: npt.NDArray[np.int64]
    _vectors: Floats

    @property
    def width(self) -> int:
        """Numbers in one vector."""
        return int(self._vectors.shape[1])

    def rows_of(self, keys: Keys) -> npt.NDArray[np.int64]:
        """int64 [n]: the row of each key, 0 for one that has no vector."""
        places, is_known = places_of(keys, self.keys)
        return np.where(is_known, self._rows[places], UNKNOWN_ROW)

    def take(self, rows: npt.NDArray[np.int64]) -> Floats:
        """float32 [n, width], read from the disk where they were not lately."""
        return np.asarray(self._vectors[rows])


def vectors_folder(versions_dir: Path) -> Path:
    """Where stores lie: beside the versions, so that who finds these finds those."""
    return versions_dir.with_name(f"{versions_dir.name}.vectors")


def make_stores(root: Path, tables: Mapping[str, TableSpec]) -> VectorsRefs:
    """A store for each table that names a file of vectors, made where it is not there yet.

    Raises Refused where a file is wrong, Corrupt where a store is damaged.
    """
    return {
        name: _make_store(root, table)
        for name, table in tables.items()
        if table.vectors is not None
    }


def widths_of(refs: Mapping[str, VectorsRef]) -> dict[str, int]:
    """Table -> numbers in one of its vectors."""
    return {table: ref.width for table, ref in refs.items()}


def open_stores(root: Path, refs: Mapping[str, VectorsRef]) -> dict[str, Vectors]:
    """Raises Corrupt, naming table and store, where one is missing or damaged."""
    return {table: _open_store(root, table, ref) for table, ref in refs.items()}


def open_read(
    root: Path,
    model: ModelSpec,
    refs: Mapping[str, VectorsRef],
    *,
    sides: tuple[Side, ...] = SIDES,
    who: str,
) -> dict[str, Vectors]:
    """The vectors that these sides of a model read, as the manifest of `who` names them.

    Raises Corrupt as `open_stores`, and where the manifest's parts do not fit.
    """
    for table in model.vector_tables():
        width = refs[table].width if table in refs else None
        if width is None or width != model.tables[table].width:
            raise Corrupt(f"{who} names no vectors for table {table}, or of another width")
    read = {name for side in sides for name in model.table_names(side)}
    return open_stores(root, {table: ref for table, ref in refs.items() if table in read})


def store_names(root: Path) -> list[str]:
    """Every store that is there."""
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if _SHA256.match(path.name))


def _make_store(root: Path, table: TableSpec) -> VectorsRef:
    with opened(table) as file:
        folder = root / _name_of(table, file)
        if not folder.is_dir():
            make_folder(root)
            with exclusive_lock(
                root / ".making.lock", who="making vectors", wait_seconds=_LONGEST_MAKING_SECONDS
            ):
                sweep_temporaries(root, older_than_seconds=0)
                if not folder.is_dir():  # while we waited another line may have made it
                    _write_store(folder, table, file)
    mark_used(folder)  # gc leaves it, though no checkpoint names it before this run ends
    return _read_manifest(folder)


def _name_of(table: TableSpec, file: VectorFile) -> str:
    parts = [1, file.sha256, file.ids_sha256, table.id_column, table.vector_column]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _write_store(folder: Path, table: TableSpec, file: VectorFile) -> None:
    order = np.argsort(file.keys)
    with publish_folder_once(folder) as hidden:
        files = write_arrays(hidden, {KEYS: file.keys[order], ROWS: order + 1})
        unknown: Iterable[Floats] = [np.zeros((1, file.width), np.float32)]
        shape = (len(file.keys) + 1, file.width)
        files |= write_matrix(hidden, VECTORS, chain(unknown, file.blocks()), shape=shape)
        ref = VectorsRef(
            name=folder.name,
            source_sha256=file.sha256,
            ids_sha256=file.ids_sha256,
            id_column=table.id_column,
            vector_column=table.vector_column,
            ids=file.id_kind,
            count=len(file.keys),
            width=file.width,
            files=files,
        )
        write_and_fsync(hidden / MANIFEST, ref.to_json())
    log.info("vectors_stored", file=str(table.vectors), store=folder.name, vectors=ref.count)


def _read_manifest(folder: Path) -> VectorsRef:
    path = folder / MANIFEST
    try:
        ref = VectorsRef.from_json(path.read_bytes(), name=str(path))
    except OSError as error:
        raise unreadable(path, error, hint=_again(folder)) from error
    except Corrupt as error:
        raise Corrupt(error.message, hint=_again(folder)) from None
    if ref.name != folder.name:
        raise Corrupt(f"{path} describes {ref.name}", hint=_again(folder))
    return ref


def _open_store(root: Path, table: str, ref: VectorsRef) -> Vectors:
    folder = root / ref.name
    if not folder.is_dir():
        raise Corrupt(
            f"the vectors of table {table} are not there: {folder}",
            hint="bring the folder back beside the versions, or train where their file is as it "
            "was: a run makes it anew",
        )
    try:
        arrays: list[Any] = [
            map_array(folder, name, ref.files[f"{name}.npy"]) for name in (KEYS, ROWS, VECTORS)
        ]
        _check(ref, *arrays)
    except KeyError as error:
        raise Corrupt(f"the vectors of table {table}: no {error.args[0]} is named") from None
    except Corrupt as error:
        reason = f"the vectors of table {table} are damaged: {error.message}"
        raise Corrupt(reason, hint=_again(folder)) from error
    return Vectors(*arrays)


def _check(ref: VectorsRef, keys: Any, rows: Any, vectors: Any) -> None:
    """Whatever its hashes say, no look-up may leave an array."""
    wanted = [
        (np.dtype(np.uint64), (ref.count,)),
        (np.dtype(np.int64), (ref.count,)),
        (np.dtype(np.float32), (ref.count + 1, ref.width)),
    ]
    if [(each.dtype, each.shape) for each in (keys, rows, vectors)] != wanted:
        raise Corrupt(f"{ref.count} ids and vectors of {ref.width} numbers are not what it holds")
    if not (keys[1:] > keys[:-1]).all() or rows.min() < 1 or rows.max() > ref.count:
        raise Corrupt("its keys are not in order, or name rows that are not there")
    if vectors[UNKNOWN_ROW].any():
        raise Corrupt("the row of unknown ids is not zero")


def _again(folder: Path) -> str:
    return f"move {folder} away: the next training run makes it anew from the file of vectors"
