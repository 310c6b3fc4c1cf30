"""Sends that are either confirmed or the end of the process.

Stock Faust's flush gives up after 100 ms without progress and only logs a failed send
(faust-streaming 0.15.3, ``transport/producer.py`` and ``topics.py``), so a commit can stand for
records that never arrived. And it makes a task or a future of each record; here they are of each
batch (``batches``).
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

from aiokafka.errors import KafkaTimeoutError
from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.agents import current_agent
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT

from marketlag.engine.batches import Batches, Confirmations, OnConfirmed
from marketlag.errors import SendFailed

#: Keys whose partition is remembered: aiokafka's hash is written in Python.
MAX_KEYS = 200_000
#: Who sends what no agent sends.
PRODUCERS = "producers"


class Producer(driver.Producer):
    """Faust's aiokafka producer: idempotent, strict, and a batch at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._batches = Batches(self._create_batch, self._send_batch, self._crash)
        self._partition_counts: dict[str, int] = {}
        self._hashes: dict[bytes, int] = {}
        #: Records handed over, by the agent and the topic.
        self.sent: Counter[tuple[str, str]] = Counter()

    @property
    def confirmations(self) -> Confirmations:
        """What is not confirmed yet."""
        return self._batches.confirmations

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer: Any = super()._new_producer(transactional_id)
        sender, app = producer._sender, cast(Any, self.app)
        sender._send_produce_req = app.membership.sending(sender._send_produce_req)
        return producer

    def _create_batch(self) -> BatchBuilder:
        return self._ensure_producer().create_batch()

    async def _send_batch(self, tp: TP, batch: BatchBuilder) -> "asyncio.Future[Any]":
        while True:
            producer: Any = self._ensure_producer()
            try:
                sent: asyncio.Future[Any] = await producer.send_batch(
                    batch, tp.topic, partition=tp.partition
                )
            except KafkaTimeoutError:
                # The batch before is retried for ever while its partition's leader is away, and
                # this one was not taken yet (``MessageAccumulator.add_batch``).
                self.log.warning("%s partition %s takes no records", *tp)
            else:
                return sent

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
        """Hand one record over; ``flush`` waits for it. Waits while too many are on their way.

        Without a *partition*, the key decides, as in Kafka's own clients.
        """
        if partition is None:
            count = self._partition_counts.get(topic) or await self._count_partitions(topic)
            partition = self._hash(key or b"") % count
        self.write(
            topic, value, key=key, partition=partition, timestamp_ms=timestamp_ms, headers=headers
        )
        await self.room()

    async def room(self) -> None:
        """Wait while too many records are on their way. Raises ``SendFailed``."""
        await self._batches.room()

    def write(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        partition: int,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        on_confirmed: OnConfirmed | None = None,
    ) -> None:
        """Hand one record over, and wait for nothing."""
        agent = current_agent()
        self.sent[agent.name if agent is not None else PRODUCERS, topic] += 1
        self._batches.write(
            TP(topic, partition),
            value,
            key=key,
            timestamp_ms=timestamp_ms,
            headers=headers,
            on_confirmed=on_confirmed,
        )

    async def _count_partitions(self, topic: str) -> int:
        producer: Any = self._ensure_producer()
        await producer.client._wait_on_metadata(topic)
        count = len(producer.client.cluster.partitions_for_topic(topic))
        self._partition_counts[topic] = count
        return count

    def _hash(self, key: bytes) -> int:
        found = self._hashes.get(key)
        if found is None:
            if len(self._hashes) >= MAX_KEYS:
                self._hashes.clear()
            found = self._hashes[key] = murmur2(key) & 0x7FFFFFFF
        return found

    def _crash(self, error: BaseException) -> None:
        app: AppT = self.app
        if not app.should_stop:
            failure = SendFailed(f"Kafka did not take a record: {error!r}")
            self._crashing = asyncio.ensure_future(app.crash(failure))

    async def flush(self) -> None:
        """Wait until Kafka has confirmed every record handed over so far.

        Raises ``SendFailed``; after that no commit is possible in this process.
        """
        await self.confirmations.wait()
