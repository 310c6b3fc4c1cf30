"""The DLQs in Kafka: read them, and publish what they hold again, each record once."""

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from marketlag.dlq.ledger import (
    CLAIM_MS,
    CLAIMED,
    END,
    REPLAYED,
    REPLAYED_FROM,
    RUN,
    Coordinates,
    Item,
    Ledger,
    note_headers,
)
from marketlag.errors import BrokerError, InputError, ReplayError
from marketlag.topics import REFUSING, dlq

#: Records that are claimed, published and noted together.
BATCH_RECORDS = 500
#: A batch has to be in Kafka so long after its claim (ms). What is left of the claim is for clocks
#: that differ, and for a request that is on the wire.
PUBLISH_MS = CLAIM_MS // 4
PATIENCE_SECONDS = 60.0


class Queue:
    """Reads the DLQs of a pipeline with this many partitions."""

    def __init__(self, consumer: AIOKafkaConsumer, partitions: int) -> None:
        self._consumer = consumer
        self._partitions = partitions

    async def ledgers(self, topics: Iterable[str] = REFUSING) -> list[Ledger]:
        """Every partition's, read to its end."""
        found = [Ledger(topic, p) for topic in topics for p in range(self._partitions)]
        for ledger in found:
            await self.refresh(ledger)
        return found

    async def refresh(self, ledger: Ledger) -> None:
        """Take in what was written since."""
        tp = TopicPartition(dlq(ledger.topic), ledger.partition)
        async for records in self.records(tp, ledger.end):
            ledger.fold(records)

    async def records(
        self, tp: TopicPartition, start: int = 0, end: int | None = None
    ) -> AsyncIterator[list[ConsumerRecord]]:
        """What a partition holds from *start* up to *end*, or up to where it ends now.

        Raises ``BrokerError`` when nothing comes for a minute.
        """
        begin = (await self._consumer.beginning_offsets([tp]))[tp]
        newest = (await self._consumer.end_offsets([tp]))[tp]
        end = newest if end is None else min(end, newest)
        position = max(start, begin)
        if position < end:
            self._consumer.assign([tp])
            self._consumer.seek(tp, position)
        patience = time.monotonic() + PATIENCE_SECONDS
        while position < end:
            if time.monotonic() > patience:
                raise BrokerError(f"Kafka does not give the records of {tp.topic} {tp.partition}")
            fetched = (await self._consumer.getmany(tp, timeout_ms=1_000)).get(tp, [])
            if fetched:
                patience = time.monotonic() + PATIENCE_SECONDS
                yield [record for record in fetched if record.offset < end]
            position = await self._consumer.position(tp)

    async def values(self, items: Sequence[Item]) -> dict[Coordinates, ConsumerRecord]:
        """The records of items of one partition, in order, by their names."""
        names = {item.place.offset: item.name for item in items}
        topic, partition, first = items[0].place
        tp, end = TopicPartition(topic, partition), items[-1].place.offset + 1
        return {
            names[record.offset]: record
            async for records in self.records(tp, first, end)
            for record in records
            if record.offset in names
        }

    async def value(self, item: Item) -> ConsumerRecord:
        """An item's record. Raises ``InputError`` where retention has taken it meanwhile."""
        found = await self.values([item])
        if item.name not in found:
            raise InputError(f"{item.name} is gone: it was too old")
        return found[item.name]

    async def bounds(self, tp: TopicPartition) -> tuple[int, int]:
        """First offset and end of a partition."""
        begins = await self._consumer.beginning_offsets([tp])
        return begins[tp], (await self._consumer.end_offsets([tp]))[tp]


def _target(ledger: Ledger) -> TopicPartition:
    """Where a ledger's records were refused, and go again."""
    return TopicPartition(ledger.topic, ledger.partition)


class Outcome(msgspec.Struct):
    """What became of the chosen records; ``impossible`` counts them by why."""

    published: int = 0
    already: int = 0
    busy: int = 0
    impossible: Counter[str] = msgspec.field(default_factory=Counter)

    @property
    def seen(self) -> int:
        return self.published + self.already + self.busy + self.impossible.total()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Republisher:
    """Publishes refused records again to where they came from, unless that was done before.

    Args:
        producer: an idempotent one, of this run's own.
        now: the clock (ms), by which claims grow old.
    """

    def __init__(
        self, queue: Queue, producer: AIOKafkaProducer, now: Callable[[], int] = now_ms
    ) -> None:
        self._queue = queue
        self._producer = producer
        self._now = now
        self._run = uuid.uuid4().hex
        self.outcome = Outcome()

    async def publish(self, ledger: Ledger, chosen: Sequence[Item]) -> AsyncIterator[Outcome]:
        """Publish *chosen* items of a ledger; tells how far it is after each batch.

        Raises ``ReplayError`` when Kafka takes longer than a claim holds, or refuses a record.
        """
        possible = self._possible(chosen)
        yield self.outcome
        for start in range(0, len(possible), BATCH_RECORDS):
            await self._publish_batch(ledger, possible[start : start + BATCH_RECORDS])
            yield self.outcome

    def foresee(self, chosen: Sequence[Item]) -> Outcome:
        """What ``publish`` would do, as far as the ledgers tell."""
        for item in self._possible(chosen):
            if item.claim_at(self._now()):
                self.outcome.busy += 1
            else:
                self.outcome.published += 1
        return self.outcome

    def _possible(self, chosen: Sequence[Item]) -> list[Item]:
        possible = []
        for item in chosen:
            if item.is_replayed:
                self.outcome.already += 1
            elif item.why_not:
                self.outcome.impossible[item.why_not] += 1
            else:
                possible.append(item)
        return possible

    async def _publish_batch(self, ledger: Ledger, items: list[Item]) -> None:
        claimed_at = self._now()
        free = [item for item in items if not item.claim_at(claimed_at)]
        _, end = await self._queue.bounds(_target(ledger))
        await self._note(ledger, free, CLAIMED, at=claimed_at, **{RUN: self._run, END: str(end)})
        # Another run may have claimed the same: the one whose claim stands first has it.
        await self._queue.refresh(ledger)
        ours = [item for item in free if self._is_ours(item, claimed_at)]
        already = sum(item.is_replayed for item in items)
        self.outcome.already += already
        self.outcome.busy += len(items) - already - len(ours)
        ours = await self._not_published(ledger, ours)
        if not ours:
            return
        seconds = (claimed_at + PUBLISH_MS - self._now()) / 1_000
        try:
            async with asyncio.timeout(seconds):
                sent = await self._send(ledger, ours)
        except TimeoutError:
            # Nothing of it may arrive later, when somebody else has taken the claim over.
            await self._producer._sender.close()
            raise ReplayError("Kafka takes too long; run it again in two minutes") from None
        await self._note(ledger, sent, REPLAYED)
        self.outcome.published += len(sent)

    def _is_ours(self, item: Item, claimed_at: int) -> bool:
        claim = item.claim_at(claimed_at)
        return not item.is_replayed and claim is not None and claim.run == self._run

    async def _not_published(self, ledger: Ledger, items: list[Item]) -> list[Item]:
        """Leave out what a run that died has published; note it."""
        ends = {
            item.name: min(claim.end for claim in item.claims if claim.run != self._run)
            for item in items
            if any(claim.run != self._run for claim in item.claims)
        }
        if not ends:
            return items
        begin, _ = await self._queue.bounds(_target(ledger))
        published = {
            value.decode()
            async for records in self._queue.records(_target(ledger), min(ends.values()))
            for record in records
            for name, value in record.headers
            if name == REPLAYED_FROM
        }
        done = [item for item in items if item.identity in published]
        await self._note(ledger, done, REPLAYED)
        self.outcome.already += len(done)
        left = [item for item in items if item.identity not in published]
        known = [item for item in left if ends.get(item.name, begin) >= begin]
        self._count_impossible(
            len(left) - len(known),
            "a run that died may have published it, and the log since then is gone",
        )
        return known

    async def _send(self, ledger: Ledger, items: list[Item]) -> list[Item]:
        """Publish items, and wait until Kafka has them; those that are still there to send."""
        records = await self._queue.values(items)
        found = [item for item in items if item.name in records]
        self._count_impossible(len(items) - len(found), "retention has taken it meanwhile")
        sending = [
            await self._producer.send(
                ledger.topic,
                records[item.name].value,
                key=records[item.name].key,
                partition=ledger.partition,
                headers=[(REPLAYED_FROM, item.identity.encode())],
            )
            for item in found
        ]
        for item, sent in zip(found, sending, strict=True):
            try:
                await sent
            except KafkaError as exc:
                raise ReplayError(f"Kafka does not take {item.name} again: {exc!r}") from None
        return found

    def _count_impossible(self, count: int, why: str) -> None:
        if count:
            self.outcome.impossible[why] += count

    async def _note(
        self, ledger: Ledger, items: Sequence[Item], note: str, at: int | None = None, **more: str
    ) -> None:
        """Write a note on each item beside it, and wait until Kafka has them."""
        sending = [
            await self._producer.send(
                dlq(ledger.topic),
                b"",
                partition=ledger.partition,
                timestamp_ms=self._now() if at is None else at,
                headers=note_headers(item, note, **more),
            )
            for item in items
        ]
        for sent in sending:
            await sent
