"""What aiokafka has fetched, handed on as record batches and unpacked where it is used.

aiokafka makes each record three times: Cython's, a ``ConsumerRecord`` of eleven fields, and a turn
of a generator (0.14, ``consumer/fetcher.py``, ``PartitionRecords``); and all that in the consumer's
thread, so that it reaches the agent in another core's cache. Cython's record has all that is needed
here, a list of a whole batch of them is made in one call, and the agent does that itself, right
before it works through them.

``take_fetched`` and ``fetched_records`` mirror aiokafka's ``Fetcher.fetched_records`` on its
private state: the version is pinned, and the tests on a real Kafka hold them to it.
"""

import asyncio
from collections.abc import Collection
from time import monotonic
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException

from marketlag.records import LogRecord


class Packed:
    """Consecutive record batches of one partition, as they came.

    Attributes:
        first: the offset from which they are wanted; a fetch may begin within a batch.
        end: the offset after them.
    """

    __slots__ = ("_batches", "_check_crcs", "end", "first")

    def __init__(self, batches: list[Any], first: int, *, check_crcs: bool = True) -> None:
        self._batches = batches
        self._check_crcs = check_crcs
        self.first = first
        self.end: int = batches[-1].next_offset

    def unpack(self) -> list[LogRecord]:
        """The records, without markers. Once; raises ``CorruptRecordException``."""
        found: list[LogRecord] = []
        for batch in self._batches:
            if self._check_crcs and not batch.validate_crc():
                raise CorruptRecordException(f"invalid CRC in the batch before {batch.next_offset}")
            if not batch.is_control_batch:
                found += batch
        if found and found[0].offset < self.first:
            found = [record for record in found if record.offset >= self.first]
        return found


def take(result: Any, most: int) -> Packed | None:
    """The next batches of a ``FetchResult``, of about *most* records; as its ``getall``."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return None
    fetched = result._partition_records
    first = end = fetched.next_fetch_offset
    batches = []
    while end - first < most and fetched._records.has_next():
        batch = fetched._records.next_batch()
        batches.append(batch)
        end = batch.next_offset
    fetched.next_fetch_offset = max(first, end)
    result._update_position()
    if not fetched._records.has_next():
        # It refers to its own generator, and that cycle keeps megabytes.
        fetched._records_iterator = None
        result._partition_records = None
    return Packed(batches, first, check_crcs=fetched._check_crcs) if end > first else None


def take_fetched(
    fetcher: Any, wanted: Collection[TopicPartition], most: int
) -> dict[TopicPartition, Packed]:
    """What is there of the partitions *wanted*, of each about *most* records.

    Raises what a fetch failed with.
    """
    found: dict[TopicPartition, Packed] = {}
    for tp in list(fetcher._records):
        if tp not in wanted:
            if not fetcher._subscriptions.is_assigned(tp):
                del fetcher._records[tp]
            continue
        result = fetcher._records[tp]
        is_error = not isinstance(result, FetchResult)
        if is_error and found:
            return found  # the error is raised by the next call
        packed = None if is_error else take(result, most)
        if is_error or not result.has_more():
            # Wakes the fetcher to ask for more.
            del fetcher._records[tp]
            fetcher._notify(fetcher._wait_consume_future)
        if is_error:
            result.check_raise()
        if packed is not None:
            found[tp] = packed
    return found


async def fetched_records(
    fetcher: Any, wanted: Collection[TopicPartition], timeout: float, most: int
) -> dict[TopicPartition, Packed]:
    """As ``take_fetched``; waits until there is something, for *timeout* s."""
    deadline = monotonic() + timeout
    while True:
        if fetcher._closed:
            raise ConsumerStoppedError
        if fetcher._subscriptions.reassignment_in_progress:
            await fetcher._subscriptions.wait_for_assignment()
        found = take_fetched(fetcher, wanted, most)
        if found or monotonic() >= deadline:
            return found
        waiter = cast("asyncio.Future[None]", fetcher._create_fetch_waiter())
        await asyncio.wait([waiter], timeout=deadline - monotonic())
        if not waiter.done():
            waiter.cancel()
            return {}
        waiter.result()  # raises what the coordinator failed with
