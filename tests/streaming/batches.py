"""Record batches as producers make them, and as no producer would."""

import struct
from collections.abc import Sequence

import crc32c
from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder

from tests.streaming.line import NOON_MS

CODECS = {
    "none": 0,
    "gzip": DefaultRecordBatch.CODEC_GZIP,
    "snappy": DefaultRecordBatch.CODEC_SNAPPY,
    "lz4": DefaultRecordBatch.CODEC_LZ4,
    "zstd": DefaultRecordBatch.CODEC_ZSTD,
}
HEADER_BYTES = DefaultRecordBatch.HEADER_STRUCT.size
_CRC_AT, _COVERED_FROM, _COUNT_AT = 17, 21, 57


def packed(values: Sequence[bytes | None], codec: str = "none") -> bytes:
    """A sound batch from offset 0 on."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=False,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**31 - 1,
    )
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=NOON_MS + offset, key=None, value=value, headers=[])
    return bytes(builder.build())


def with_its_crc(batch: bytes) -> bytes:
    """The same with the CRC that fits what it holds by now."""
    crc = struct.pack(">I", crc32c.crc32c(batch[_COVERED_FROM:]))
    return batch[:_CRC_AT] + crc + batch[_CRC_AT + 4 :]


def with_count(batch: bytes, count: int) -> bytes:
    """The same with another count of records."""
    return with_its_crc(batch[:_COUNT_AT] + struct.pack(">i", count) + batch[_COUNT_AT + 4 :])
