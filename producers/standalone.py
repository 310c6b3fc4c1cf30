"""The producers without a worker: for cron, and for machines that only fetch.

The tables' changelogs are the state: read to their ends at the start, appended to. So cron and
workers remember the same; but only one of them may poll (``MARKETLAG_POLL_IN_WORKER``).
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from marketlag import kafka
from marketlag.errors import SendFailed
from marketlag.markets import Markets
from marketlag.settings import Settings
from marketlag.topics import changelog
from producers.fetch import Fetcher
from producers.publish import Kind
from producers.schedule import Memory, Poller, make_poller
from producers.state import Clock, FeedFact, MarketFact, SeenFact

Fact = TypeVar("Fact", bound=msgspec.Struct)


class KafkaOutlet:
    """Sends through a plain aiokafka producer; ``flush`` waits for all of it."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._sent: list[asyncio.Future[object]] = []
        self._facts: list[tuple[TopicPartition, bytes, bytes | None]] = []
        self._flushing = asyncio.Lock()
        self._failure: SendFailed | None = None

    async def publish(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        self._sent.append(
            await self._producer.send(
                topic,
                value,
                key=key,
                partition=partition,
                timestamp_ms=timestamp_ms,
                headers=list(headers),
            )
        )

    def remember(self, tp: TopicPartition, key: bytes, value: bytes | None) -> None:
        """Send a fact to its changelog with the next flush."""
        self._facts.append((tp, key, value))

    async def flush(self) -> None:
        """Raises ``SendFailed``, and after one for ever.

        One at a time: what somebody else's flush has taken along is confirmed before ours returns.
        """
        async with self._flushing:
            if self._failure is not None:
                raise self._failure
            try:
                facts, self._facts = self._facts, []
                for tp, key, value in facts:
                    await self.publish(tp.topic, value, key=key, partition=tp.partition)
                sent, self._sent = self._sent, []
                await asyncio.gather(*sent)
            except KafkaError as exc:
                self._failure = SendFailed(f"Kafka did not take a record: {exc!r}")
                raise self._failure from None


class ChangelogFacts(Generic[Fact]):
    """A table's facts as its changelog has them; ``engine.tables.KeyedTable`` without RocksDB."""

    def __init__(self, topic: str, fact: type[Fact], outlet: KafkaOutlet) -> None:
        self._topic = topic
        self._decode = msgspec.json.Decoder(fact).decode
        self._outlet = outlet
        self._held: dict[int, dict[tuple[str, ...], Fact]] = defaultdict(dict)

    async def read(self, consumer: AIOKafkaConsumer, partitions: int) -> None:
        """Read the changelog to its end."""
        tps = [TopicPartition(self._topic, partition) for partition in range(partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        await consumer.seek_to_beginning(*tps)
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=500)).items():
                held = self._held[tp.partition]
                for record in records:
                    key = tuple(msgspec.json.decode(record.key))
                    if record.value is None:
                        held.pop(key, None)
                    else:
                        held[key] = self._decode(record.value)

    def fact(self, partition: int, *key: str) -> Fact | None:
        return self._held[partition].get(key)

    def put(self, partition: int, *key: str, fact: Fact) -> None:
        self._held[partition][key] = fact
        self._write(partition, key, msgspec.json.encode(fact))

    def delete(self, partition: int, *key: str) -> None:
        self._held[partition].pop(key, None)
        self._write(partition, key, None)

    def facts(self, partition: int) -> Iterator[tuple[tuple[str, ...], Fact]]:
        return iter(list(self._held[partition].items()))

    def _write(self, partition: int, key: tuple[str, ...], value: bytes | None) -> None:
        tp = TopicPartition(self._topic, partition)
        self._outlet.remember(tp, msgspec.json.encode(key), value)


class AloneTenure:
    """A partition of a process that shares the work with nobody."""

    def __init__(self, partition: int) -> None:
        self.partition = partition

    def is_held(self) -> bool:
        """Always."""
        return True


@asynccontextmanager
async def standalone(
    settings: Settings, markets: Markets, kind: Kind, clock: Clock
) -> AsyncIterator[Poller]:
    """A poller of feeds or of prices, with its state read; flushed and closed at the end.

    Raises ``BrokerError``, ``TopicsError`` and ``SendFailed``.
    """
    await kafka.check_topics(settings)
    async with (
        kafka.producer(settings) as producer,
        kafka.consumer(settings) as consumer,
        Fetcher(settings) as fetcher,
    ):
        outlet = KafkaOutlet(producer)
        known = ChangelogFacts(changelog(settings, "rss_feeds"), FeedFact, outlet)
        seen = ChangelogFacts(changelog(settings, "rss_seen"), SeenFact, outlet)
        last = ChangelogFacts(changelog(settings, "last_prices"), MarketFact, outlet)
        for table in (known, seen) if kind == "rss" else (last,):
            await table.read(consumer, settings.partitions)
        tenures = [AloneTenure(partition) for partition in range(settings.partitions)]
        poller = make_poller(
            settings,
            markets,
            Memory(known, seen, last),
            tenures=lambda: tenures,
            outlet=outlet,
            fetcher=fetcher,
            clock=clock,
            shares=1,
            kinds=[kind],
        )
        yield poller
        await outlet.flush()
        await poller.write_health()
