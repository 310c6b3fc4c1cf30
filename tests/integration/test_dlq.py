"""Refused records published again on a broker: each once, whoever dies and whoever else tries."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from marketlag import kafka
from marketlag.dlq import queue
from marketlag.dlq.ledger import CLAIM_MS, REPLAYED, REPLAYED_FROM, Coordinates, Item, Ledger
from marketlag.dlq.queue import Outcome, Queue, Republisher, now_ms
from marketlag.errors import ReplayError
from marketlag.settings import Settings
from marketlag.topics import RSS_EVENTS, dlq
from tests.support.services import pipeline

PARTITIONS = 2
TARGET = TopicPartition(RSS_EVENTS, 1)


class Dead(Exception):
    """The process was killed here."""


async def publish_all(republisher: Republisher, ledger: Ledger) -> None:
    async for _ in republisher.publish(ledger, list(ledger.items.values())):
        pass


class Bench:
    """A DLQ with five refused records of partition 1, and what is in their topic since."""

    def __init__(self, settings: Settings, consumer: Any, producer: Any) -> None:
        self.settings = settings
        self.producer = producer
        self.queue = Queue(consumer, PARTITIONS)

    async def refuse(self, count: int) -> None:
        for offset in range(count):
            await self.producer.send_and_wait(
                dlq(RSS_EVENTS),
                f"value {offset}".encode(),
                key=b"m",
                partition=1,
                timestamp_ms=1_700_000_000_000 + offset,
                headers=[
                    ("error", b"not JSON"),
                    ("topic", RSS_EVENTS.encode()),
                    ("partition", b"1"),
                    ("offset", str(offset).encode()),
                ],
            )

    async def items(self) -> list[Item]:
        [ledger] = [each for each in await self.queue.ledgers([RSS_EVENTS]) if each.partition == 1]
        return list(ledger.items.values())

    async def replay(
        self, now: Callable[[], int] = now_ms, breaks: Callable[[Republisher], None] | None = None
    ) -> Outcome:
        """A run of its own, as a process would be."""
        async with kafka.consumer(self.settings) as consumer:
            reading = Queue(consumer, PARTITIONS)
            republisher = Republisher(reading, self.producer, now)
            if breaks:
                breaks(republisher)
            for ledger in await reading.ledgers([RSS_EVENTS]):
                await publish_all(republisher, ledger)
        return republisher.outcome

    async def published(self) -> list[tuple[bytes, bytes, str]]:
        return [
            (record.key, record.value, dict(record.headers)[REPLAYED_FROM].decode())
            async for records in self.queue.records(TARGET)
            for record in records
        ]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    with pipeline("postgresql://unused/x", partitions=PARTITIONS) as settings:
        async with kafka.consumer(settings) as consumer, kafka.producer(settings) as producer:
            found = Bench(settings, consumer, producer)
            await found.refuse(5)
            yield found


ONCE = [
    (b"m", f"value {n}".encode(), f"rss.events/1/{n}@{1_700_000_000_000 + n}") for n in range(5)
]


def later() -> int:
    """When the claims of a run that died have grown old."""
    return now_ms() + CLAIM_MS + 1


async def test_records_are_published_again_once(bench: Bench) -> None:
    """As they were, to their own partition; a second run passes them over."""
    assert (await bench.replay()).published == 5
    assert await bench.published() == ONCE
    again = await bench.replay()
    assert (again.published, again.already) == (0, 5)
    assert await bench.published() == ONCE
    assert all(item.is_replayed for item in await bench.items())


def dies_before_the_note(republisher: Republisher) -> None:
    write = republisher._note

    async def note(ledger: Any, items: Any, what: str, *rest: Any, **more: Any) -> None:
        if what == REPLAYED:
            raise Dead
        await write(ledger, items, what, *rest, **more)

    republisher._note = note  # type: ignore[method-assign]


async def test_a_run_that_died_after_publishing_is_believed(bench: Bench) -> None:
    """The log tells that its records are there; nothing is published twice."""
    with pytest.raises(Dead):
        await bench.replay(breaks=dies_before_the_note)
    assert await bench.published() == ONCE
    soon = await bench.replay()
    assert (soon.published, soon.busy) == (0, 5)
    outcome = await bench.replay(later)
    assert (outcome.published, outcome.already) == (0, 5)
    assert await bench.published() == ONCE
    assert all(item.is_replayed for item in await bench.items())


async def test_a_run_that_died_before_publishing_is_made_good(bench: Bench) -> None:
    """Its claim alone publishes nothing, and holds nothing up for longer than two minutes."""

    def dies_after_the_claim(republisher: Republisher) -> None:
        async def refresh(_: Any) -> None:
            raise Dead

        republisher._queue.refresh = refresh  # type: ignore[method-assign]

    async with kafka.consumer(bench.settings) as consumer:
        reading = Queue(consumer, PARTITIONS)
        ledger = (await reading.ledgers([RSS_EVENTS]))[1]
        republisher = Republisher(reading, bench.producer)
        dies_after_the_claim(republisher)
        with pytest.raises(Dead):
            await publish_all(republisher, ledger)
    assert await bench.published() == []
    assert (await bench.replay()).busy == 5
    assert (await bench.replay(later)).published == 5
    assert await bench.published() == ONCE


async def test_runs_at_the_same_time_publish_each_record_once(bench: Bench) -> None:
    """The one whose claim stands first in the log has it."""
    outcomes = await asyncio.gather(*(bench.replay() for _ in range(4)))
    assert sum(outcome.published for outcome in outcomes) == 5
    assert sorted(await bench.published()) == ONCE


async def test_a_run_that_read_before_another_published_sees_it(bench: Bench) -> None:
    """It looks again before it publishes."""
    async with kafka.consumer(bench.settings) as consumer:
        reading = Queue(consumer, PARTITIONS)
        ledger = (await reading.ledgers([RSS_EVENTS]))[1]
        assert (await bench.replay()).published == 5
        republisher = Republisher(reading, bench.producer)
        await publish_all(republisher, ledger)
    assert (republisher.outcome.published, republisher.outcome.already) == (0, 5)
    assert await bench.published() == ONCE


async def test_a_run_that_kafka_keeps_waiting_publishes_nothing(bench: Bench) -> None:
    """Nor does it later: another may have the records by then."""
    ticks = iter(range(now_ms(), now_ms() + 100 * CLAIM_MS, CLAIM_MS))
    with pytest.raises(ReplayError, match="run it again"):
        await bench.replay(lambda: next(ticks))
    assert await bench.published() == []
    assert bench.producer._sender.sender_task.done()


async def test_a_claim_that_grows_old_while_another_run_works_is_looked_into(bench: Bench) -> None:
    """A run has read the ledgers; another claims, publishes and dies; two minutes later the first
    one gets to the records.
    """
    async with kafka.consumer(bench.settings) as consumer:
        reading = Queue(consumer, PARTITIONS)
        ledger = (await reading.ledgers([RSS_EVENTS]))[1]
        with pytest.raises(Dead):
            await bench.replay(breaks=dies_before_the_note)
        republisher = Republisher(reading, bench.producer, later)
        await publish_all(republisher, ledger)
    assert (republisher.outcome.published, republisher.outcome.already) == (0, 5)
    assert await bench.published() == ONCE


@pytest.mark.parametrize("size", [1, 2, 500])
async def test_batches_after_a_death_in_the_middle(
    bench: Bench, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several batches, some are out when the run dies; the next run does the rest."""
    monkeypatch.setattr(queue, "BATCH_RECORDS", size)
    notes = iter([False, False, False, True])

    def dies_at_a_note(republisher: Republisher) -> None:
        write = republisher._note

        async def note(ledger: Any, items: Any, what: str, *rest: Any, **more: Any) -> None:
            if next(notes, False):
                raise Dead
            await write(ledger, items, what, *rest, **more)

        republisher._note = note  # type: ignore[method-assign]

    with contextlib.suppress(Dead):
        await bench.replay(breaks=dies_at_a_note)
    outcome = await bench.replay(later)
    assert outcome.published + outcome.already == 5
    assert await bench.published() == ONCE


async def test_what_cannot_be_published_is_said(bench: Bench) -> None:
    """And the rest is."""
    await bench.producer.send_and_wait(
        dlq(RSS_EVENTS), b"<rss", partition=1, headers=[("error", b"no feed"), ("source", b"u")]
    )
    outcome = await bench.replay()
    assert outcome.published == 5
    assert [(why.split(":")[0], n) for why, n in outcome.impossible.items()] == [
        ("a producer refused it", 1)
    ]


async def test_a_batch_that_kafka_refuses_can_be_tried_again(bench: Bench) -> None:
    """As after any other death."""
    send = bench.producer.send

    async def refusing(topic: str, *args: Any, **options: Any) -> Any:
        if topic == RSS_EVENTS:
            raise KafkaError("away")
        return await send(topic, *args, **options)

    bench.producer.send = refusing
    with pytest.raises(KafkaError):
        await bench.replay()
    bench.producer.send = send
    assert (await bench.replay(later)).published == 5
    assert await bench.published() == ONCE


async def test_a_name_is_where_a_record_was_refused(bench: Bench) -> None:
    """Topic, partition and offset."""
    assert [item.name for item in await bench.items()][:2] == [
        Coordinates(RSS_EVENTS, 1, 0),
        Coordinates(RSS_EVENTS, 1, 1),
    ]
