"""Folders of arrays: nothing but plain numbers is parsed, and no size is believed."""

import io
import json
import pickle  # noqa: TID251  the attack
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from twintide.arrays import (
    MANIFEST,
    FileEntry,
    parse_arrays,
    parse_table,
    read_verified,
    verify,
    write_arrays,
)
from twintide.errors import Corrupt

PLAIN = [np.bool_, np.int8, np.uint8, np.int64, np.uint64, np.float32, np.float64, np.float16]


@settings(max_examples=40, deadline=None)
@given(
    array=st.sampled_from(PLAIN).flatmap(
        lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=0, min_side=0))
    )
)
def test_an_array_comes_back_as_it_was(array: npt.NDArray[Any]) -> None:
    """Type, shape and every bit; and it may be written to."""
    found = parse_arrays({"a.npy": saved(array)})["a"]

    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert found.flags.writeable


def saved(array: npt.NDArray[Any], *, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=allow_pickle)
    return buffer.getvalue()


def headed(header: bytes, data: bytes = b"", *, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data


def shaped(shape: str, data: bytes = b"", *, dtype: str = "<f8") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}"
    return headed(header.encode().ljust(117) + b"\n", data)


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", data)
    return buffer.getvalue()


class Attack:
    """Whoever unpickles it runs code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('code ran')",)


HOSTILE = {
    "a pickle": pickle.dumps(Attack()),
    "an array of objects": saved(np.array([Attack()], dtype=object), allow_pickle=True),
    "a zip": zipped(saved(np.zeros(3))),
    "a zip bomb": zipped(b"\0" * 10_000_000),
    "nothing": b"",
    "a magic alone": b"\x93NUMPY",
    "a version of the future": headed(b"{}\n", version=b"\x09\x00"),
    "a header that is code": headed(b"__import__('os').system('true')\n"),
    "a header that is deep": headed(b"(" * 5000 + b"\n"),
    "a header that is a lambda": shaped("(lambda: (3,))()", bytes(24)),
    "a header that is cut": saved(np.zeros(3))[:40],
    "an exabyte": shaped("(1000000000000000000,)"),
    "an exabyte in two dimensions": shaped("(1000000000, 1000000000)"),
    "nothing, very often": shaped("(1000000000000000000, 0, 1000000000000000000)"),
    "a number of rows below zero": shaped("(-1,)"),
    "a true number of rows": shaped("(True,)", bytes(8)),
    "a hundred dimensions": shaped(f"({'1, ' * 99})", bytes(8)),
    "numbers of no width": shaped("(1000000000,)", dtype="|V0"),
    "texts": saved(np.array(["a"])),
    "records": saved(np.zeros(2, [("a", "<f8")])),
    "instants": saved(np.zeros(2, "M8[s]")),
    "complex numbers": saved(np.zeros(2, complex)),
    "numbers of another machine": saved(np.zeros(2, ">f8")),
    "columns first": headed(
        b"{'descr': '<f8', 'fortran_order': True, 'shape': (2, 2), }\n", bytes(32)
    ),
    "a byte too few": saved(np.zeros(3))[:-1],
    "a byte too many": saved(np.zeros(3)) + b"\0",
}


@pytest.mark.promise("X1")
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_plain_array_is_refused_before_it_gets_memory(data: bytes) -> None:
    """No pickle is loaded, no header evaluated, no shape believed that the bytes do not fill."""
    tracemalloc.start()
    with pytest.raises(Corrupt, match=r"a\.npy"):
        parse_arrays({"a.npy": data})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 5_000_000


@pytest.mark.promise("X1")
@settings(max_examples=100, deadline=None)
@given(at=st.integers(0, 140), with_=st.binary(max_size=6), cut=st.integers(0, 6))
def test_any_change_of_a_header_is_read_or_refused(at: int, with_: bytes, cut: int) -> None:
    """Bytes put in, taken out or exchanged, at random."""
    sound = saved(np.arange(3.0))
    try:
        found = parse_arrays({"a.npy": sound[:at] + with_ + sound[at + cut :]})["a"]
    except Corrupt:
        return
    assert found.nbytes in {0, 24}


@pytest.mark.promise("X1")
@pytest.mark.parametrize("text", [b"name", b"value"])
def test_a_table_with_text_that_is_no_utf_8_is_refused(text: bytes) -> None:
    """In the name of a column it was a UnicodeDecodeError, in a value one at the first answer."""
    written = pa.BufferOutputStream()
    pq.write_table(pa.table({"name": ["value"]}), written, compression="none", store_schema=False)
    odd = bytes(written.getvalue()).replace(text, b"\xf2" + text[1:])
    with pytest.raises(Corrupt, match="no table"):
        parse_table({"items.parquet": odd}, "items.parquet")


@pytest.mark.promise("X1")
@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"PAR1" + bytes(100) + b"PAR1", b"not a table" * 10],
    ids=["nothing", "a magic", "zeros", "text"],
)
def test_what_is_no_table_is_refused(data: bytes) -> None:
    """In one sentence, as everything that is damaged."""
    with pytest.raises(Corrupt, match=r"items\.parquet"):
        parse_table({"items.parquet": data}, "items.parquet")


@pytest.mark.promise("X1")
def test_a_table_that_names_a_pickled_type_is_read_as_plain_data() -> None:
    """Arrow's old extension types were unpickled at reading (CVE-2023-47248)."""
    metadata = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Attack()),
    }
    field = pa.field("a", pa.int64(), metadata=metadata)
    sink = pa.BufferOutputStream()
    import pyarrow.parquet as pq  # noqa: PLC0415  beside its only use

    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), sink)

    found = parse_table({"a.parquet": sink.getvalue().to_pybytes()}, "a.parquet")

    assert found["a"].to_pylist() == [1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "artifact"
    made.mkdir()
    return made


@pytest.mark.promise("X6")
@pytest.mark.parametrize(
    "name", ["../secret.npy", "/etc/passwd", "a/b.npy", "", ".", "..", "a\n.npy", "-rf", ".hidden"]
)
def test_no_name_of_a_manifest_leaves_the_folder(folder: Path, name: str) -> None:
    """Nor is hidden, nor anything but a plain name."""
    (folder.parent / "secret.npy").write_bytes(b"secret")

    with pytest.raises(Corrupt):
        read_verified(folder, {name: FileEntry.of(b"secret")})


@pytest.mark.promise("X6")
def test_a_link_is_no_file_of_an_artifact(folder: Path) -> None:
    """Whatever it points to, even where the hash fits."""
    (folder.parent / "secret").write_bytes(b"secret")
    (folder / "a.npy").symlink_to(folder.parent / "secret")

    with pytest.raises(Corrupt, match="symbolic link"):
        read_verified(folder, {"a.npy": FileEntry.of(b"secret")})


def test_a_folder_is_what_its_manifest_says(folder: Path) -> None:
    """Missing, changed and foreign files are each named."""
    files = write_arrays(folder, {"a": np.arange(3), "b": np.zeros((2, 2), np.float32)})
    (folder / MANIFEST).write_text("{}")
    verify(folder, files)
    assert json.loads(json.dumps({name: entry.bytes for name, entry in files.items()})) == {
        "a.npy": 128 + 24,
        "b.npy": 128 + 16,
    }

    (folder / "stranger").write_text("")
    with pytest.raises(Corrupt, match="stranger"):
        verify(folder, files)
    (folder / "stranger").unlink()
    (folder / "a.npy").write_bytes(bytes(152))
    with pytest.raises(Corrupt, match=r"a\.npy is not what"):
        verify(folder, files)
    (folder / "a.npy").unlink()
    with pytest.raises(Corrupt, match=r"a\.npy cannot be read"):
        verify(folder, files)
