"""Sends that are either confirmed or the end of the process.

Stock Faust's flush gives up after 100 ms without progress and only logs a failed send
(faust-streaming 0.15.3, ``transport/producer.py`` and ``topics.py``), so a commit can stand for
records that never arrived. And it makes a task or a future of each record; here they are of each
batch. What is written to a partition collects in its open batch, which goes out as soon as the one
before it is on its way: a record alone waits for nothing, and under load batches grow.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from aiokafka.partitioner import murmur2
from aiokafka.producer.message_accumulator import BatchBuilder
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, AppT

from marketlag.errors import SendFailed

#: Told of a batch that Kafka has: its partition, offset and timestamp (ms) of its last record.
OnConfirmed = Callable[[TP, int, int], None]

#: Bytes written and not yet handed to aiokafka, before ``publish`` waits: a broker that is away
#: must not fill the memory.
MAX_WAITING_BYTES = 32 * 1024 * 1024
#: Keys whose partition is remembered: aiokafka's hash is written in Python.
MAX_KEYS = 200_000


class Share:
    """The batches begun between two flushes."""

    __slots__ = ("open", "settled")

    def __init__(self) -> None:
        self.open = 0
        self.settled = asyncio.Event()


class Confirmations:
    """Counts batches that are not confirmed yet; remembers the first failure.

    A flush waits for what was sent before it, and no more: over a slow network, under load, there
    is always a record on its way, and waiting for none would be waiting for ever.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._share = Share()
        self._flushing: deque[Share] = deque()

    def expect(self) -> Share:
        """Something is being sent. Returns what ``settle`` has to be given for it."""
        self._share.open += 1
        return self._share

    def settle(self, share: Share, error: BaseException | None) -> None:
        share.open -= 1
        if error is not None and self._error is None:
            self._error = error
        if self._error is not None:
            for waiting in self._flushing:
                waiting.settled.set()
        elif share.open == 0 and share is not self._share:
            share.settled.set()

    async def wait(self) -> None:
        """Return when every record sent so far is confirmed.

        Raises ``SendFailed`` when one cannot be.
        """
        share, self._share = self._share, Share()
        if share.open == 0:
            share.settled.set()
        self._flushing.append(share)
        for each in list(self._flushing):
            if self._error is None:
                await each.settled.wait()
        if self._error is not None:
            raise SendFailed(f"Kafka did not take a record: {self._error!r}") from self._error
        while self._flushing and self._flushing[0].settled.is_set():
            self._flushing.popleft()


def failure_of(sent: "asyncio.Future[Any]") -> BaseException | None:
    """Why a finished send failed; ``None`` if Kafka has the batch."""
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()


class Batch:
    """The records of one partition that go out together. Written to until it is sent."""

    __slots__ = ("builder", "newest", "on_confirmed", "share", "size")

    def __init__(self, builder: BatchBuilder, share: Share) -> None:
        self.builder = builder
        self.share = share
        self.size = 0  # of its values
        self.newest = 0  # timestamp (ms) of the record written last
        self.on_confirmed: OnConfirmed | None = None


class Producer(driver.Producer):
    """Faust's aiokafka producer: idempotent, strict, and a batch at a time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.confirmations = Confirmations()
        #: By partition: the batches that aiokafka does not have yet, the last of them open.
        self._waiting: dict[TP, deque[Batch]] = {}
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._shipping: set[asyncio.Task[None]] = set()
        self._partition_counts: dict[str, int] = {}
        self._hashes: dict[bytes, int] = {}

    def _settings_extra(self) -> Mapping[str, Any]:
        return {"acks": "all", "enable_idempotence": True}

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer: Any = super()._new_producer(transactional_id)
        sender, app = producer._sender, cast(Any, self.app)
        sender._send_produce_req = app.membership.sending(sender._send_produce_req)
        return producer

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
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._room.clear()
            await self._room.wait()

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
        tp = TP(topic, partition)
        batches = self._waiting.get(tp)
        if batches is None:
            batches = self._waiting[tp] = deque()
            shipping = asyncio.ensure_future(self._ship(tp, batches))
            self._shipping.add(shipping)
            shipping.add_done_callback(self._shipping.discard)
        timestamp = int(time.time() * 1_000) if timestamp_ms is None else timestamp_ms
        row = {"timestamp": timestamp, "key": key, "value": value, "headers": list(headers)}
        if not batches or batches[-1].builder.append(**row) is None:
            builder = self._ensure_producer().create_batch()
            batches.append(Batch(builder, self.confirmations.expect()))
            builder.append(**row)
        size = len(value or b"")
        batch = batches[-1]
        batch.newest, batch.on_confirmed = timestamp, on_confirmed
        batch.size += size
        self._waiting_bytes += size

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

    async def _ship(self, tp: TP, batches: deque[Batch]) -> None:
        """Hand a partition's batches over, each when aiokafka has sent the one before."""
        producer = self._ensure_producer()
        try:
            while batches:
                batch = batches[0]
                sent = await producer.send_batch(batch.builder, tp.topic, partition=tp.partition)
                # Open up to here; a closed one does not wait for more.
                batch.builder.close()
                batches.popleft()
                self._waiting_bytes -= batch.size
                self._room.set()
                sent.add_done_callback(partial(self._settle, tp, batch))
        except BaseException as exc:
            for batch in batches:
                self.confirmations.settle(batch.share, exc)
            self._crash(exc)
            if not isinstance(exc, Exception):
                raise
        finally:
            del self._waiting[tp]

    def _settle(self, tp: TP, batch: Batch, sent: "asyncio.Future[Any]") -> None:
        error = failure_of(sent)
        if error is None and batch.on_confirmed is not None:
            last = sent.result().offset + batch.builder.record_count() - 1
            batch.on_confirmed(tp, last, batch.newest)
        self.confirmations.settle(batch.share, error)
        if error is not None:
            self._crash(error)

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
