"""The thread that talks to Kafka: fetches, commits with metadata, seeks, bounds of logs."""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service

from marketlag.engine.fetch import Packed, fetched_records
from marketlag.engine.positions import Point
from marketlag.errors import EngineError

#: What one answer of Kafka's may hold: the more, the fewer turns. Three copies of an answer exist
#: for a moment.
FETCH_BYTES = 16 * 1024 * 1024

COORDINATOR_LOOK_SECONDS = 1.0


class ConsumerThread(driver.AIOKafkaConsumerThread):
    """The thread that talks to Kafka, extended by commits with metadata."""

    async def on_start(self) -> None:
        await super().on_start()
        app: Any = self.app
        coordinator = self._ensure_consumer()._coordinator
        coordinator._send_req = app.membership.asking(coordinator._send_req)

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes it to 1.5 s. A broker answers a connection's requests in order, so whatever
        # is asked behind a waiting fetch waits as well: seeks, and with them every rebalance.
        parent: Any = self.consumer
        consumer._fetch_max_wait_ms = parent.fetch_max_wait_ms
        consumer._fetch_max_bytes = FETCH_BYTES
        return consumer

    def highwater_of(self, tp: TopicPartition) -> int | None:
        """The end of a partition's log as the newest fetch told it; ``None`` before the first."""
        consumer = self._consumer
        subscription = consumer._subscription.subscription if consumer is not None else None
        assignment = subscription.assignment if subscription is not None else None
        state = assignment.state_value(tp) if assignment is not None else None
        found: int | None = state.highwater if state is not None else None
        return found

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        return await self.call_thread(self._take, active_partitions or set(), timeout)

    async def _take(self, wanted: set[TP], timeout: float) -> dict[TopicPartition, Packed]:
        # What rebalances meanwhile is asked here, in the thread, or the two would wait for
        # each other.
        if not self.consumer.flow_active:
            return {}
        consumer: Any = self._ensure_consumer()
        if consumer._closed:
            raise ConsumerStoppedError
        with consumer._fetcher._subscriptions.fetch_context():
            tps = {TopicPartition(*tp) for tp in wanted}
            most = consumer._max_poll_records
            return await fetched_records(consumer._fetcher, tps, timeout, most)

    async def committed_points(self, tps: Iterable[TP]) -> dict[TP, Point]:
        """What the group has committed; partitions without a commit are left out."""
        points: dict[TP, Point] = await self.call_thread(self._committed_points, list(tps))
        return points

    async def _committed_points(self, tps: list[TP]) -> dict[TP, Point]:
        coordinator = self._ensure_consumer()._coordinator
        found = await coordinator.fetch_committed_offsets([TopicPartition(*tp) for tp in tps])
        return {
            TP(tp.topic, tp.partition): Point(point.offset, point.metadata or "")
            for tp, point in found.items()
            if point.offset >= 0
        }

    async def commit_points(self, generation: int, points: Mapping[TP, Point]) -> bool:
        """Commit, if the group is still in *generation*. False if it has rebalanced."""
        committed: bool = await self.call_thread(self._commit_points, generation, points)
        return committed

    async def _commit_points(self, generation: int, points: Mapping[TP, Point]) -> bool:
        consumer = self._ensure_consumer()
        if consumer._coordinator.generation != generation:
            return False
        try:
            await consumer.commit(
                {
                    TopicPartition(*tp): OffsetAndMetadata(point.offset, point.metadata)
                    for tp, point in points.items()
                }
            )
        except (CommitFailedError, IllegalStateError):
            return False
        return True

    async def seek_to(self, offsets: Mapping[TP, int]) -> None:
        await self.call_thread(self._seek_to, offsets)

    async def _seek_to(self, offsets: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            try:
                consumer.seek(TopicPartition(*tp), offset)
            except IllegalStateError:
                return  # given away meanwhile; the next generation seeks for itself

    async def bounds(self, tps: Iterable[TP]) -> dict[TP, tuple[int, int]]:
        """First offset and end of each partition's log."""
        bounds: dict[TP, tuple[int, int]] = await self.call_thread(self._bounds, list(tps))
        return bounds

    async def _bounds(self, tps: list[TP]) -> dict[TP, tuple[int, int]]:
        consumer = self._ensure_consumer()
        partitions = [TopicPartition(*tp) for tp in tps]
        begins, ends = await asyncio.gather(
            consumer.beginning_offsets(partitions), consumer.end_offsets(partitions)
        )
        return {tp: (begins[TopicPartition(*tp)], ends[TopicPartition(*tp)]) for tp in tps}

    async def offsets_after(self, times: Mapping[TP, int]) -> dict[TP, int]:
        """The first offset with a later timestamp (ms); partitions without one are left out."""
        offsets: dict[TP, int] = await self.call_thread(self._offsets_after, times)
        return offsets

    async def _offsets_after(self, times: Mapping[TP, int]) -> dict[TP, int]:
        if not times:
            return {}
        consumer = self._ensure_consumer()
        found = await consumer.offsets_for_times(
            {TopicPartition(*tp): time + 1 for tp, time in times.items()}
        )
        # aiokafka answers -1, or nothing, for a log without a later record.
        return {
            TP(tp.topic, tp.partition): at.offset
            for tp, at in found.items()
            if at is not None and at.offset >= 0
        }

    @Service.task
    async def _watch_coordinator(self) -> None:
        """End the process when aiokafka has given up on the group's coordinator.

        Faust never asks for its errors, and would wait for partitions for ever.
        """
        while not self.should_stop:
            await self.sleep(COORDINATOR_LOOK_SECONDS)
            try:
                self._ensure_consumer()._coordinator.check_errors()
            except KafkaError as exc:
                await self.consumer.crash(EngineError(f"the consumer group is lost: {exc!r}"))
                return
