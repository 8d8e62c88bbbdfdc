"""A Parquet file that is made a row group at a time, so that only compressed rows are held."""

from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)
"""What reading a file may raise that is not whole: a name of a column that is no UTF-8 any more is
a ValueError, and so on. Whoever catches it says Corrupt, and which file.
"""


class RowGroups:
    """The rows of a file that is being made."""

    def __init__(self, schema: pa.Schema) -> None:
        self.count = 0
        """How many rows there are so far."""

        self._schema = schema
        self._sink = pa.BufferOutputStream()
        self._writer = pq.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=1,
            write_page_checksum=True,
            store_schema=True,
        )

    @classmethod
    def of(cls, rows: pa.Table) -> Self:
        """All of it as one group."""
        made = cls(rows.schema.remove_metadata())
        made.add(rows)
        return made

    def add(self, rows: pa.Table) -> None:
        """One row group more."""
        if len(rows):
            self._writer.write_table(rows)
            self.count += len(rows)

    @property
    def columns(self) -> pa.Schema:
        """Of the file."""
        return self._schema

    def sealed(self, metadata: dict[bytes, bytes]) -> pa.Buffer:
        """The bytes of the file, which nothing can be added to any more."""
        self._writer.add_key_value_metadata(metadata)
        self._writer.close()
        return self._sink.getvalue()
