"""Files of fixed vectors: what is read, and what is refused with file, row, reason and hint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.twintide.test_no_code_runs import PICKLED
from twintide import vectorstore
from twintide.arrays import write_arrays
from twintide.errors import Corrupt, Refused, Retryable
from twintide.keys import keys_of
from twintide.modelspec import TableSpec
from twintide.vectorfile import opened
from twintide.vectorstore import VectorsRef, make_stores, open_stores

Matrix = npt.NDArray[np.float32]
IDS = ["c", "a", "b"]
EXPECTED = np.array([[0.5, 1, -2], [0, 3, 4], [5, 6, 7]], np.float32)


def parquet(path: Path, ids: Any, vectors: Any) -> TableSpec:
    pq.write_table(pa.table({"id": ids, "vector": vectors}), path)
    return TableSpec(vectors=path)


def lists(kind: pa.DataType, rows: Any = EXPECTED) -> pa.Array:
    value = np.float16 if kind.value_type == pa.float16() else np.float64
    return pa.array([np.asarray(row, value) for row in rows], kind)


def npy(folder: Path, ids: Any, vectors: Any) -> TableSpec:
    np.save(folder / "ids.npy", ids, allow_pickle=True)
    np.save(folder / "v.npy", vectors)
    return TableSpec(vectors=folder / "v.npy", ids=folder / "ids.npy")


def npz(path: Path, **arrays: Any) -> TableSpec:
    np.savez(path, **arrays)
    return TableSpec(vectors=path)


def looked_up(folder: Path, table: TableSpec, ids: pa.Array) -> Matrix:
    """What features find under these ids."""
    refs = make_stores(folder / "stores", {"title": table})
    store = open_stores(folder / "stores", refs)["title"]
    return store.take(store.rows_of(keys_of(ids)))


ACCEPTED: dict[str, Callable[[Path], TableSpec]] = {
    "lists of float32": lambda p: parquet(p / "v.parquet", IDS, lists(pa.list_(pa.float32()))),
    "lists of float16": lambda p: parquet(p / "v.parquet", IDS, lists(pa.list_(pa.float16()))),
    "large lists of float64": lambda p: parquet(
        p / "v.parquet", IDS, lists(pa.large_list(pa.float64()))
    ),
    "fixed-size lists": lambda p: parquet(p / "v.parquet", IDS, lists(pa.list_(pa.float32(), 3))),
    "ids as categories": lambda p: parquet(
        p / "v.parquet", pa.array(IDS).dictionary_encode(), lists(pa.list_(pa.float32()))
    ),
    "npz": lambda p: npz(p / "v.npz", id=np.array(IDS), vector=EXPECTED.astype(np.float16)),
    "npy": lambda p: npy(p, np.array(IDS), EXPECTED),
    "npy of another byte order": lambda p: npy(p, np.array(IDS), EXPECTED.astype(">f8")),
}


@pytest.mark.parametrize("write", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_vectors_are_found_by_id(write: Callable[[Path], TableSpec], tmp_path: Path) -> None:
    """In whatever order and width of float they are written; an unknown or missing id is zero."""
    found = looked_up(tmp_path, write(tmp_path), pa.array(["a", "b", "nobody", None, "c"]))

    assert found.dtype == np.float32
    assert np.array_equal(found, np.stack([*EXPECTED[1:], [0] * 3, [0] * 3, EXPECTED[0]]))


def test_ids_may_be_whole_numbers_of_any_width(tmp_path: Path) -> None:
    """An int32 in the file and an int64 of the events are one id."""
    table = parquet(
        tmp_path / "v.parquet", pa.array([7, -1, 3], pa.int32()), lists(pa.list_(pa.float32()))
    )

    assert np.array_equal(looked_up(tmp_path, table, pa.array([3, 8])), [[5, 6, 7], [0, 0, 0]])


def rows(*vectors: Any) -> pa.Array:
    return pa.array(vectors, pa.list_(pa.float32()))


def wide(path: Path) -> TableSpec:
    return parquet(path, ["a"], pa.array([np.zeros(5000)], pa.list_(pa.float32())))


REFUSED: dict[str, tuple[Callable[[Path], TableSpec], str]] = {
    "NaN": (
        lambda p: parquet(p / "v.parquet", ["a", "b"], rows([1, 2], [1, np.nan])),
        "row 1, counted from 0, holds a number that is not finite",
    ),
    "beyond float32": (
        lambda p: npz(p / "v.npz", id=np.arange(2), vector=np.array([[1e300], [1]])),
        "row 0, counted from 0, holds a number that is not finite",
    ),
    "ragged": (
        lambda p: parquet(p / "v.parquet", ["a", "b"], rows([1, 2], [1, 2, 3])),
        "row 1, counted from 0, holds 3 numbers, and row 0 holds 2",
    ),
    "a null number": (
        lambda p: parquet(p / "v.parquet", ["a", "b"], rows([1, 2], [1, None])),
        "row 1, counted from 0, lacks one of its numbers",
    ),
    "a null vector": (
        lambda p: parquet(p / "v.parquet", ["a", "b"], rows([1, 2], None)),
        "row 1, counted from 0, has no vector",
    ),
    "an id twice": (
        lambda p: parquet(p / "v.parquet", ["a", "b", "a"], rows([1], [2], [3])),
        "row 2, counted from 0, holds the id 'a' again, as row 0 does",
    ),
    "no id": (
        lambda p: parquet(p / "v.parquet", ["a", None], rows([1], [2])),
        "row 1, counted from 0, has no id",
    ),
    "ids of floats": (
        lambda p: parquet(p / "v.parquet", [1.0, 2.0], rows([1], [2])),
        "ids are double, neither strings nor whole numbers",
    ),
    "an id beyond 64 bits": (
        lambda p: parquet(p / "v.parquet", pa.array([2**63], pa.uint64()), rows([1])),
        "an id does not fit into 64 bits with a sign",
    ),
    "vectors of strings": (
        lambda p: parquet(p / "v.parquet", ["a"], [["1"]]),
        "column 'vector' is list<element: string>, no list of floats",
    ),
    "no rows": (lambda p: parquet(p / "v.parquet", [], rows()), "holds no vector"),
    "no numbers": (
        lambda p: parquet(p / "v.parquet", ["a"], rows([])),
        "holds vectors of 0 numbers",
    ),
    "too wide": (lambda p: wide(p / "v.parquet"), "holds vectors of 5,000 numbers; 4,096 is the"),
    "another width than asked for": (
        lambda p: parquet(p / "v.parquet", ["a"], rows([1, 2])).model_copy(update={"width": 3}),
        "holds vectors of 2 numbers, and the table asks for 3",
    ),
    "another column": (
        lambda p: parquet(p / "v.parquet", ["a"], rows([1])).model_copy(
            update={"vector_column": "embedding"}
        ),
        "has no column 'embedding'; it has id, vector",
    ),
    "another array": (
        lambda p: npz(p / "v.npz", key=np.arange(1), vector=np.ones((1, 2))),
        "has no array 'id'; it has key, vector",
    ),
    "as many ids as not": (
        lambda p: npy(p, np.arange(3), np.ones((2, 2))),
        "holds 2 vectors for 3 ids",
    ),
    "one long vector": (
        lambda p: npy(p, np.arange(3), np.ones(6)),
        r"vectors are float64 of shape (6,), no matrix of floats",
    ),
    "column by column": (
        lambda p: npy(p, np.arange(3), np.asfortranarray(np.ones((3, 2)))),
        "holds its numbers column by column",
    ),
    "pickled ids": (
        lambda p: npy(p, np.array(["a", None], object), np.ones((2, 2))),
        "ids are object of shape (2,)",
    ),
}


@pytest.mark.parametrize(("write", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_wrong_is_refused_by_file_row_and_reason(
    write: Callable[[Path], TableSpec], reason: str, tmp_path: Path
) -> None:
    """With a hint, and nothing is left of it."""
    table = write(tmp_path)

    with pytest.raises(Refused) as refused:
        make_stores(tmp_path / "stores", {"title": table})

    assert reason in refused.value.message
    assert str(tmp_path) in refused.value.message
    assert refused.value.hint
    assert vectorstore.store_names(tmp_path / "stores") == []
    assert list((tmp_path / "stores").glob(".*.tmp")) == []


def test_no_damaged_file_ends_in_a_traceback(tmp_path: Path) -> None:
    """Cut off at any length, of other bytes, a pickle, a folder, or not there at all."""
    made = [
        (each, path.read_bytes())
        for name, write in ACCEPTED.items()
        if name in {"fixed-size lists", "npz", "npy"}
        for each in [write(tmp_path)]
        for path in [each.vectors]
        if path is not None
    ]
    for table, data in made:
        path = table.vectors or Path()
        pieces = [data[:at] for at in range(0, len(data), max(1, len(data) // 25))]
        for damaged in (*pieces, PICKLED, b"\x93NUMPY\x01\x00v\x00{'descr': __import__('os')}"):
            path.write_bytes(damaged)
            with pytest.raises(Refused), opened(table) as file:
                list(file.blocks())
    with pytest.raises(Refused, match="cannot be read"), opened(TableSpec(vectors=Path("/no.npz"))):
        pass
    (tmp_path / "folder.parquet").mkdir()
    folder = TableSpec(vectors=tmp_path / "folder.parquet")
    with pytest.raises(Refused, match="cannot be read"), opened(folder):
        pass


def test_a_file_that_changes_while_it_is_read_is_tried_again(tmp_path: Path) -> None:
    """Half of one file and half of another would be neither."""
    table = parquet(tmp_path / "v.parquet", IDS, lists(pa.list_(pa.float32())))

    def read() -> None:
        with opened(table) as file, (tmp_path / "v.parquet").open("ab") as writer:
            list(file.blocks())
            writer.write(b"more")
            writer.flush()

    with pytest.raises(Retryable, match="was changed while it was read"):
        read()


def made_store(folder: Path) -> tuple[Path, VectorsRef]:
    table = parquet(folder / "v.parquet", IDS, lists(pa.list_(pa.float32())))
    ref = make_stores(folder, {"title": table})["title"]
    return folder / ref.name, ref


def test_a_store_is_made_once_and_named_by_content(tmp_path: Path) -> None:
    """The same file gives the same bytes under the same name; another one, another name."""
    folder, ref = made_store(tmp_path)
    made_at = (folder / "vectors.npy").stat().st_mtime_ns
    again = made_store(tmp_path)[1]
    other = parquet(tmp_path / "w.parquet", IDS, lists(pa.list_(pa.float32()), EXPECTED + 1))
    elsewhere = make_stores(
        tmp_path / "elsewhere", {"title": TableSpec(vectors=tmp_path / "v.parquet")}
    )

    assert again == ref == elsewhere["title"]
    assert (folder / "vectors.npy").stat().st_mtime_ns == made_at
    assert make_stores(tmp_path, {"title": other})["title"].name != ref.name


@pytest.mark.parametrize("name", ["keys.npy", "rows.npy", "vectors.npy"])
def test_a_store_with_another_byte_is_not_used(name: str, tmp_path: Path) -> None:
    """Damaged, cut off, a link elsewhere, missing: named, with what to do."""
    folder, ref = made_store(tmp_path)
    sound = (folder / name).read_bytes()
    for damaged in (sound[:-1] + bytes([sound[-1] ^ 1]), sound[:-4], b""):
        (folder / name).unlink()
        (folder / name).write_bytes(damaged)
        with pytest.raises(Corrupt, match="vectors of table title are damaged") as refused:
            open_stores(tmp_path, {"title": ref})
        assert "move" in refused.value.hint
    (folder / name).unlink()
    (tmp_path / "elsewhere").write_bytes(sound)
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Corrupt, match="is a symbolic link"):
        open_stores(tmp_path, {"title": ref})
    with pytest.raises(Corrupt, match="vectors of table title are not there"):
        open_stores(tmp_path / "nowhere", {"title": ref})


def test_hashes_that_fit_do_not_make_a_look_up_leave_its_array(tmp_path: Path) -> None:
    """A hostile store names rows that are not there, or keys out of order."""
    folder, ref = made_store(tmp_path)
    for name, array in (
        ("rows", np.array([1, 2, 99])),
        ("rows", np.array([0, 1, 2])),
        ("keys", np.array([3, 2, 1], np.uint64)),
        ("vectors", np.ones((4, 3), np.float32)),
        ("vectors", np.zeros((1, 3), np.float32)),
    ):
        sound = (folder / f"{name}.npy").read_bytes()
        (folder / f"{name}.npy").unlink()
        files = ref.files | write_arrays(folder, {name: array})
        with pytest.raises(Corrupt, match="vectors of table title are damaged"):
            open_stores(tmp_path, {"title": ref.model_copy(update={"files": files})})
        (folder / f"{name}.npy").write_bytes(sound)
