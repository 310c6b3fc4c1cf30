"""Record batches from their bytes to records, in chunks, wherever a fetch begins."""

import pytest
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from faust.types import TP

from marketlag.engine.chunk import Chunk
from marketlag.engine.fetch import Packed
from marketlag.engine.positions import Lease


def batch(base: int, values: list[bytes]) -> bytearray:
    """The bytes of a batch whose first record has offset *base*; timestamps are 1000 + offset."""
    builder = DefaultRecordBatchBuilder(
        2,
        0,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=0,
        batch_size=1 << 20,
    )
    for number, value in enumerate(values):
        builder.append(number, 1_000 + base + number, b"key", value, [("n", b"%d" % number)])
    packed = bytearray(builder.build())
    packed[:8] = base.to_bytes(8, "big")
    return packed


def fetched(*batches: bytearray, first: int = 0) -> Packed:
    memory = MemoryRecords(b"".join(bytes(each) for each in batches))
    found = []
    while memory.has_next():
        found.append(memory.next_batch())
    return Packed(found, first)


def test_batches_become_records_in_order() -> None:
    """With all that a record has; the chunk knows its offsets before it is unpacked."""
    packed = fetched(batch(0, [b"a", b"b"]), batch(2, [b"c"]))
    assert (packed.first, packed.end) == (0, 3)
    chunk = Chunk(Lease(TP("t", 1), 1, 0), packed)
    assert (chunk.start, chunk.end) == (0, 3)
    with chunk:
        assert [(r.offset, r.timestamp, r.key, r.value) for r in chunk.records] == [
            (0, 1_000, b"key", b"a"),
            (1, 1_001, b"key", b"b"),
            (2, 1_002, b"key", b"c"),
        ]
        assert list(chunk.records[1].headers) == [("n", b"1")]


def test_a_fetch_that_begins_within_a_batch_gives_no_earlier_record() -> None:
    """Kafka answers whole batches; the first one may begin before the offset that was asked."""
    packed = fetched(batch(10, [b"a", b"b", b"c"]), first=11)
    assert [record.offset for record in packed.unpack()] == [11, 12]
    assert (packed.first, packed.end) == (11, 13)


def test_a_damaged_batch_is_not_read() -> None:
    damaged = batch(0, [b"a"])
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordException, match="invalid CRC in the batch before 1"):
        fetched(damaged).unpack()


def test_a_batch_that_compaction_has_emptied_still_counts() -> None:
    """Its offsets are passed, though there is no record in it."""
    empty = batch(5, [])
    # As the broker leaves it: no records, and the last offset that there was.
    empty[23:27] = (2).to_bytes(4, "big")
    memory = MemoryRecords(bytes(empty))
    packed = Packed([memory.next_batch()], 5, check_crcs=False)
    assert packed.end == 8
    assert packed.unpack() == []
