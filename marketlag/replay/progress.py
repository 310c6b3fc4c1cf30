"""How far the consumer group is, read from its commits.

A commit stands for outputs that Kafka has confirmed, so a stage that has reached the end of its
input has written all of its output, and the next stage's end is final.
"""

from collections import deque
from typing import NamedTuple

import stamina
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from marketlag.rules.signals import RecoveryPoint
from marketlag.settings import Settings
from marketlag.topics import (
    LAG_SIGNALS,
    PRICE_HISTORY,
    PRICE_HOURLY,
    PRICE_NORMALIZED,
    RSS_EVENTS,
    RSS_SIGNALS,
)

#: The pipeline in order: the topics of a stage are written only by stages before it.
STAGES = (
    (RSS_EVENTS, PRICE_HOURLY),
    (RSS_SIGNALS, PRICE_NORMALIZED),
    (LAG_SIGNALS, PRICE_HISTORY),
)


class Extent(NamedTuple):
    """One partition: first offset held, end of the log, and how far the group has read it."""

    begin: int
    end: int
    done: int


class Progress:
    """Asks Kafka about the pipeline's topics."""

    def __init__(
        self, settings: Settings, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer
    ) -> None:
        self._group = settings.app_id
        self._partitions = range(settings.partitions)
        self._admin = admin
        self._consumer = consumer

    # A new cluster makes the offsets topic at the first question, and is not ready for a moment.
    @stamina.retry(on=lambda exc: bool(getattr(exc, "retriable", False)), timeout=60)
    async def extents(self, *topics: str) -> dict[TopicPartition, Extent]:
        tps = [TopicPartition(topic, p) for topic in topics for p in self._partitions]
        points = await self._admin.list_consumer_group_offsets(self._group, partitions=tps)
        begins = await self._consumer.beginning_offsets(tps)
        ends = await self._consumer.end_offsets(tps)
        return {tp: Extent(begins[tp], ends[tp], _done(tp, points.get(tp))) for tp in tps}

    async def unread(self, *topics: str) -> int:
        """Records that the group has not dealt with."""
        extents = await self.extents(*topics)
        return sum(extent.end - max(extent.done, extent.begin) for extent in extents.values())

    async def is_finished(self) -> bool:
        """Whether every record has gone through every stage, to Postgres."""
        for topics in STAGES:
            if await self.unread(*topics):
                return False
        return True


def _done(tp: TopicPartition, point: object) -> int:
    offset = getattr(point, "offset", -1)
    metadata = getattr(point, "metadata", "")
    if offset < 0:
        return 0
    # Job 1 holds its offset back to the first record of an open window; how far it has read
    # stands beside it.
    if tp.topic == RSS_EVENTS and metadata:
        return max(offset, RecoveryPoint.parse(metadata).done)
    return int(offset)


class UnreadBytes:
    """Bytes sent to a partition and not read yet."""

    def __init__(self) -> None:
        self._sent: deque[tuple[int, int]] = deque()
        self.total = 0

    def sent(self, offset: int, size: int) -> None:
        self._sent.append((offset, size))
        self.total += size

    def read_to(self, offset: int) -> None:
        while self._sent and self._sent[0][0] < offset:
            self.total -= self._sent.popleft()[1]
