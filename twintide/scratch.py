"""Rows spread over files, each of which is read whole later.

They are scratch: made for one piece of work, never fsynced, never trusted by another run. A row
costs what it takes uncompressed, once, until its file has been taken.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from twintide.files import remove_file

Ints = npt.NDArray[np.int64]


class Scratch:
    """Files of rows, by number, in a folder of their own, which it makes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)

    def spread(self, table: pa.Table, number_of: Ints) -> None:
        """Put each row behind what the file has whose number it is given."""
        order = np.argsort(number_of, kind="stable")
        numbers, begin = np.unique(number_of[order], return_index=True)
        sorted_rows, ends = table.take(order), [*begin[1:].tolist(), len(order)]
        for number, first, end in zip(numbers.tolist(), begin.tolist(), ends, strict=True):
            self.add(number, sorted_rows.slice(first, end - first))

    def add(self, number: int, table: pa.Table) -> None:
        """Put these rows behind what a file has."""
        # A stream each time, and no file that stays open: there may be thousands.
        with self._path(number).open("ab") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)

    def take(self, number: int) -> pa.Table | None:
        """All rows of a file, in the order in which they came, and then it is gone; or None."""
        path, tables = self._path(number), list[pa.Table]()
        if not path.exists():
            return None
        with pa.OSFile(str(path)) as file:
            while file.tell() < file.size():
                tables.append(pa.ipc.open_stream(file).read_all())
        remove_file(path)
        return pa.concat_tables(tables)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.arrow"


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A name for a folder that is not there before and after the block, whoever died in it."""
    clear(path)
    try:
        yield path
    finally:
        clear(path)


def clear(path: Path) -> None:
    """Take a folder of scratch away, where it is there."""
    if path.is_dir():
        shutil.rmtree(path)
