"""What is written, collected into batches, handed over in order, and confirmed or failed.

What is written to a partition collects in its open batch, which goes out as soon as the one before
it is on its way: a record alone waits for nothing, and under load batches grow.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiokafka.producer.message_accumulator import BatchBuilder
from faust.types import TP

from marketlag.errors import SendFailed

#: Told of a batch that Kafka has: its partition, offset and timestamp (ms) of its last record.
OnConfirmed = Callable[[TP, int, int], None]

#: Of a record beside its key and value, about.
RECORD_BYTES = 64
#: Bytes written and not yet handed to aiokafka, before ``publish`` waits: a broker that is away
#: must not fill the memory.
MAX_WAITING_BYTES = 32 * 1024 * 1024


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

    def check(self) -> None:
        """Raise ``SendFailed`` if something could not be sent."""
        if self._error is not None:
            raise SendFailed(f"Kafka did not take a record: {self._error!r}") from self._error

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
        self.check()
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
        self.size = 0  # bytes, about
        self.newest = 0  # timestamp (ms) of the record written last
        self.on_confirmed: OnConfirmed | None = None


class Batches:
    """The batches of all partitions that Kafka does not have yet.

    Args:
        create: gives an empty batch.
        send: hands a batch to the client, once the one before it in its partition is on its way.
            The future that it returns is done when Kafka has the batch.
        on_failure: told why a batch cannot be sent. Nothing is sent from then on: what followed
            in its partition would stand in the log without it.
    """

    def __init__(
        self,
        create: Callable[[], BatchBuilder],
        send: Callable[[TP, BatchBuilder], "Awaitable[asyncio.Future[Any]]"],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._create, self._send, self._on_failure = create, send, on_failure
        self.confirmations = Confirmations()
        #: By partition: those that the client does not have yet, the last of them open.
        self._waiting: dict[TP, deque[Batch]] = {}
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._shipping: set[asyncio.Task[None]] = set()

    def write(
        self,
        tp: TP,
        value: bytes | None,
        *,
        key: bytes | None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
        on_confirmed: OnConfirmed | None = None,
    ) -> None:
        """Add a record to its partition's open batch. Raises ``SendFailed`` after a failure."""
        self.confirmations.check()
        batches = self._waiting.get(tp)
        if batches is None:
            batches = self._waiting[tp] = deque()
            shipping = asyncio.ensure_future(self._ship(tp, batches))
            self._shipping.add(shipping)
            shipping.add_done_callback(self._shipping.discard)
        timestamp = int(time.time() * 1_000) if timestamp_ms is None else timestamp_ms
        row = {"timestamp": timestamp, "key": key, "value": value, "headers": list(headers)}
        if not batches or batches[-1].builder.append(**row) is None:
            builder = self._create()
            builder.append(**row)
            batches.append(Batch(builder, self.confirmations.expect()))
        size = len(key or b"") + len(value or b"") + RECORD_BYTES
        batch = batches[-1]
        batch.newest, batch.on_confirmed = timestamp, on_confirmed
        batch.size += size
        self._waiting_bytes += size

    async def room(self) -> None:
        """Wait while more bytes are waiting than should be. Raises ``SendFailed``."""
        self.confirmations.check()
        while self._waiting_bytes > MAX_WAITING_BYTES:
            self._room.clear()
            await self._room.wait()
            self.confirmations.check()

    async def _ship(self, tp: TP, batches: deque[Batch]) -> None:
        try:
            while batches:
                batch = batches[0]
                self.confirmations.check()
                sent = await self._send(tp, batch.builder)
                # Open up to here. The client does not let a closed one linger.
                batch.builder.close()
                batches.popleft()
                self._waiting_bytes -= batch.size
                self._room.set()
                sent.add_done_callback(partial(self._settle, tp, batch))
        except BaseException as exc:
            for batch in batches:
                self.confirmations.settle(batch.share, exc)
            self._room.set()
            if not isinstance(exc, SendFailed):  # of another partition, and told
                self._on_failure(exc)
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
            self._room.set()
            self._on_failure(error)
