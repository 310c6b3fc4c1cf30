"""A Faust consumer that delivers chunks and owns its positions.

Faust's own consumer spends two tasks and a dozen callbacks on each record, and derives what to
commit from acknowledgements. Here one event carries all records of a partition that a fetch
brought, and a commit holds exactly what the agents declared (``positions``), after a strict flush.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from faust.agents import current_agent
from faust.transport.consumer import Fetcher as FaustFetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.transports import TPorTopicSet
from mode import Service, ServiceT

from marketlag import metrics
from marketlag.engine.chunk import Chunk
from marketlag.engine.fetch import Packed
from marketlag.engine.positions import Lease, Point, Positions, Verdict
from marketlag.engine.thread import ConsumerThread
from marketlag.errors import EngineError, LogTruncated, SendFailed

#: Chunks of one partition on their way to an agent: one being worked on, one waiting.
MAX_IN_FLIGHT = 2
#: Recovery applies changelog chunks in pairs, so more than two must be able to wait.
MAX_CHANGELOG_IN_FLIGHT = 4

#: What one answer of Kafka's may hold of one partition; of all together: ``engine.thread``.
PARTITION_FETCH_BYTES = 4 * 1024 * 1024

#: A chunk reaches an idle agent in a moment. One that has not after so many looks is lost.
HANDOVER_LOOK_SECONDS = 1.0
HANDOVER_LOOKS = 5

#: A chunk takes milliseconds; a rebalance does not wait longer than this for one.
FINISH_SECONDS = 2.0


class Fetcher(FaustFetcher):
    """Runs the consumer's loop.

    Stock Faust's dies of an ``AttributeError`` when it is stopped during a rebalance
    (faust-streaming 0.15.3, ``transport/consumer.py``: a supervisor that is not there), and a
    SIGTERM at that moment then looks like a crash.
    """

    @Service.task
    async def _fetcher(self) -> None:
        try:
            consumer: Any = self.app.consumer
            await consumer._drain_messages(self)
        finally:
            self.set_shutdown()


class Consumer(driver.Consumer):
    """Delivers chunks; commits what the agents declared."""

    _thread: ConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.positions = Positions()
        #: Called before partitions are given back: what is buffered gets its last chance.
        self.on_release: list[Callable[[], Awaitable[None]]] = []
        self.fail_on_truncated_log = False
        self.fetch_max_wait_ms = 500
        self._in_flight: Counter[TP] = Counter()
        self._room = asyncio.Event()
        self._at_work: dict[Chunk, float] = {}  # since when (monotonic s)
        self._idle = asyncio.Event()
        #: Since when something has been waiting to be committed (monotonic s).
        self.uncommitted_since: float | None = None

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # --- fetching

    async def _drain_messages(self, fetcher: ServiceT) -> None:
        # mode's wait() takes asyncio's events, too; its annotation names only its own.
        resumed: Any = self.can_resume_flow
        room: Any = self._room
        try:
            while not (self.should_stop or fetcher.should_stop):
                if not self.flow_active:
                    await self.wait(resumed)
                    continue
                partitions = self._fetchable()
                if partitions:
                    await self._fetch(partitions)
                else:
                    self._room.clear()
                    await self.wait(room, timeout=1.0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise

    def _fetchable(self) -> set[TP]:
        return {tp for tp in self._get_active_partitions() if self._has_room(tp)}

    def _has_room(self, tp: TP) -> bool:
        if self._is_changelog_tp(tp):
            return self._in_flight[tp] < MAX_CHANGELOG_IN_FLIGHT
        # The end of a rebalance clears the agents' queues, after it has opened the leases: a chunk
        # that was queued in between would be gone.
        return not self.app.rebalancing and self._in_flight[tp] < MAX_IN_FLIGHT

    async def _fetch(self, partitions: set[TP]) -> None:
        generation = self.app.consumer_generation_id
        fetched: Any = await self._getmany(partitions, timeout=1.0)
        for topic_partition, packed in fetched.items():
            tp = TP(*topic_partition)
            await self.app.flow_control.acquire()
            if generation != self.app.consumer_generation_id or not self.flow_active:
                return  # a rebalance; the next generation seeks to where it has to start
            if self._is_changelog_tp(tp):
                if records := packed.unpack():
                    await self._deliver(tp, packed, records, generation)
            else:
                await self._deliver_in_place(tp, packed, generation)

    async def _deliver_in_place(self, tp: TP, packed: Packed, generation: int) -> None:
        first = packed.first
        start = self.positions.next_offset(tp)
        verdict = self.positions.judge(tp, generation, first, packed.end - 1)
        if verdict is Verdict.DROP or first < start:
            metrics.DUPLICATES_FENCED.labels("chunk").inc()
        if verdict is Verdict.DROP:
            return
        if verdict is Verdict.SEEK_BACK:
            self.log.info(
                "%s partition %s: fetching again from offset %s, not %s",
                *(tp.topic, tp.partition, start, first),
            )
            await self._thread.seek_to({tp: start})
            return
        lease = self.positions.lease(tp)
        lost = verdict is Verdict.DELIVER_AFTER_GAP and await self._is_truncated(tp, first)
        if lease.generation == self.positions.generation:
            chunk = Chunk(lease, packed, start=start, after_gap=lost, desk=self)
            await self._deliver(tp, packed, chunk, generation)

    async def _is_truncated(self, tp: TP, first: int) -> bool:
        """Whether the hole before *first* was cut by retention (else: compaction, markers)."""
        begin, _ = (await self._thread.bounds([tp]))[tp]
        if begin < first:
            return False
        self._report_truncated(tp, first)
        return True

    def _report_truncated(self, tp: TP, first: int) -> None:
        problem = (
            f"{tp.topic} partition {tp.partition}: records before offset {first} were deleted "
            f"before they were read"
        )
        if self.fail_on_truncated_log:
            raise LogTruncated(problem)
        self.log.error("%s; windows that began before are not emitted", problem)

    async def _deliver(self, tp: TP, packed: Packed, value: Any, generation: int) -> None:
        message = ConsumerMessage(
            tp.topic,
            tp.partition,
            packed.end - 1,
            0.0,  # a chunk's records have their own
            0,
            [],
            None,
            value,
            None,
            0,
            0,
            tp,
            generation_id=generation,
        )
        self._in_flight[tp] += 1
        await self.wait_first(self.callback(message), self.suspend_flow.wait())

    def begin_work(self, chunk: Chunk) -> None:
        """Raises ``EngineError`` if a chunk was lost on its way through Faust's queues."""
        if chunk.start != chunk.lease.handed_over:
            raise EngineError(
                f"{chunk.topic} partition {chunk.partition}: the chunk after offset "
                f"{chunk.lease.handed_over} was lost, the next one starts at {chunk.start}"
            )
        chunk.lease.handed_over = chunk.end
        self._at_work[chunk] = monotonic()

    @Service.task
    async def _watch_handover(self) -> None:
        """End the process when a chunk was lost on its way, and none comes after it to show it."""
        before: dict[TP, int] = {}
        looks = 0
        while not self.should_stop:
            await self.sleep(HANDOVER_LOOK_SECONDS)
            waiting = self.positions.on_their_way()
            idle = self.flow_active and not self._at_work
            looks = looks + 1 if waiting and idle and waiting == before else 0
            before = waiting
            if looks >= HANDOVER_LOOKS:
                tps = ", ".join(f"{tp.topic} {tp.partition}" for tp in sorted(waiting))
                await self.crash(EngineError(f"chunks were lost on their way to agents: {tps}"))
                return

    def end_work(self, chunk: Chunk) -> None:
        began = self._at_work.pop(chunk, None)
        if began is not None:
            _count_work(chunk, monotonic() - began)
        if not self._at_work:
            self._idle.set()
        if chunk.lease.generation == self.positions.generation:
            self.make_room(chunk.lease.tp)

    def make_room(self, tp: TP) -> None:
        """A chunk of *tp* is dealt with; another one may be fetched."""
        self._in_flight[tp] = max(0, self._in_flight[tp] - 1)
        self._room.set()

    # --- positions

    @property
    def thread_loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of the thread that talks to Kafka, once it runs."""
        loop: asyncio.AbstractEventLoop | None = self._thread.thread_loop
        return loop if loop is not None and loop.is_running() else None

    def highwater_of(self, tp: TopicPartition) -> int | None:
        """The end of a partition's log as the newest fetch told it; from any thread."""
        return self._thread.highwater_of(tp)

    async def offsets_after(self, times: Mapping[TP, int]) -> dict[TP, int]:
        """See ``ConsumerThread.offsets_after``."""
        return await self._thread.offsets_after(times)

    async def perform_seek(self) -> None:
        """Open this generation's leases at their committed offsets."""
        generation = self.app.consumer_generation_id
        tps = [tp for tp in self.assignment() if not self._is_changelog_tp(tp)]
        committed = await self._thread.committed_points(tps)
        bounds = await self._thread.bounds(tps)
        leases = [self._new_lease(tp, generation, committed.get(tp), *bounds[tp]) for tp in tps]
        self._in_flight.clear()
        self._room.set()
        self.positions.open(generation, leases)
        await self._thread.seek_to({lease.tp: lease.offset for lease in leases})

    def _new_lease(
        self, tp: TP, generation: int, point: Point | None, begin: int, end: int
    ) -> Lease:
        if point is not None and begin <= point.offset <= end:
            # Somebody reset the offsets: where a window began before that, its start is missing.
            cut = point.offset > 0 and not point.metadata
            return Lease(tp, generation, point.offset, point.metadata, truncated=cut)
        if point is not None and point.offset > end:
            self.log.warning(
                "%s partition %s ends at %s, before the committed %s: the topic was made anew",
                *(tp.topic, tp.partition, end, point.offset),
            )
            return Lease(tp, generation, begin, truncated=begin > 0)
        if begin > 0:
            self._report_truncated(tp, begin)
        return Lease(tp, generation, begin, point.metadata if point else "", truncated=begin > 0)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        self.positions.close()
        # Faust has cleared its queues; what was in them is not in flight any more.
        self._in_flight.clear()

    # --- committing

    async def wait_empty(self) -> None:
        """Let the agents finish their chunk, let buffers go out, and commit.

        An agent may be waiting for somebody who is away (the sink for Postgres). Releasing frees
        it; what is still at work after that is not declared, and so is done again by its next
        owner.
        """
        await self._until_idle()
        await asyncio.gather(*(release() for release in self.on_release))
        await self._until_idle()
        await self.commit()

    async def _until_idle(self) -> None:
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                while self._at_work:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            self.log.warning("%s chunks are still being worked on", len(self._at_work))

    async def force_commit(
        self, topics: TPorTopicSet | None = None, start_new_transaction: bool = True
    ) -> bool:
        """Flush strictly, then commit what had been declared before the flush."""
        generation = self.positions.generation
        points = self.positions.committable()
        if not points:
            self.uncommitted_since = None
            return False
        if self.uncommitted_since is None:
            self.uncommitted_since = monotonic()
        try:
            with metrics.FLUSH_SECONDS.time():
                await self.app.producer.flush()
        except SendFailed as exc:
            metrics.COMMITS.labels("failed").inc()
            await self.crash(exc)
            return False
        if not await self._committed(generation, points):
            return False
        self.uncommitted_since = None
        self.positions.mark_committed(generation, points)
        for table in self.app.tables.values():
            table.persist_offsets()
        return True

    async def _committed(self, generation: int, points: Mapping[TP, Point]) -> bool:
        try:
            done = await self._thread.commit_points(generation, points)
        except KafkaError:
            metrics.COMMITS.labels("failed").inc()
            raise
        metrics.COMMITS.labels("done" if done else "fenced").inc()
        return done

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Stock Faust guesses a livelock from acknowledgements; they decide nothing here."""


def _count_work(chunk: Chunk, seconds: float) -> None:
    agent = current_agent()
    name = agent.name if agent is not None else ""
    count = chunk.count
    metrics.RECORDS_RECEIVED.labels(name, chunk.topic).inc(count)
    metrics.CHUNK_RECORDS.labels(name).observe(count)
    metrics.CHUNK_SECONDS.labels(name).observe(seconds)
