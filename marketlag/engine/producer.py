"""Sends that are either confirmed or the end of the process.

Stock Faust's flush gives up after 100 ms without progress and only logs a failed send
(faust-streaming 0.15.3, ``transport/producer.py`` and ``topics.py``), so a commit can stand for
records that never arrived.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import AppT, FutureMessage

from marketlag.errors import SendFailed


class Share:
    """The records sent between two flushes."""

    __slots__ = ("open", "settled")

    def __init__(self) -> None:
        self.open = 0
        self.settled = asyncio.Event()


class Confirmations:
    """Counts records that were sent and not confirmed yet; remembers the first failure.

    A flush waits for what was sent before it, and no more: over a slow network, under load, there
    is always a record on its way, and waiting for none would be waiting for ever.
    """

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._share = Share()
        self._flushing: deque[Share] = deque()

    def expect(self) -> Share:
        """A record is being sent. Returns what ``settle`` has to be given for it."""
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
    """Why a finished send failed; ``None`` if Kafka has the record."""
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()


class StrictBuffer(ProducerBuffer):
    """Faust's buffer of ``send_soon`` records (the tables' changelogs), each one accounted for."""

    confirmations: Confirmations

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # ``pending`` is taken from in the order of ``put``.
        self._shares: deque[Share] = deque()

    def put(self, fut: FutureMessage) -> None:
        self._shares.append(self.confirmations.expect())
        # The record's timestamp has to be known exactly (``tables``), and aiokafka 0.14 reports for
        # each record of a batch that of the first (``message_accumulator.py``, ``done``).
        fut.message = fut.message._replace(timestamp=time.time())
        self.pending.put_nowait(fut)

    async def _send_pending(self, fut: FutureMessage) -> None:
        share = self._shares.popleft()
        try:
            sent = await fut.message.channel.publish_message(fut, wait=False)
        except Exception as exc:
            self.confirmations.settle(share, exc)
            raise
        assert isinstance(sent, asyncio.Future)
        sent.add_done_callback(partial(self._settle, share))

    def _settle(self, share: Share, sent: "asyncio.Future[Any]") -> None:
        self.confirmations.settle(share, failure_of(sent))

    async def flush(self) -> None:
        await self.confirmations.wait()

    async def wait_until_ebb(self) -> None:
        """Stock Faust stalls the consumer here; our chunks in flight bound the buffer already."""

    async def on_stop(self) -> None:
        """The app flushed before it stopped the producer; nothing may be waited for here."""


class Producer(driver.Producer):
    """Faust's aiokafka producer, idempotent and strict."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.confirmations = Confirmations()
        buffer = StrictBuffer(loop=self.loop, beacon=self.beacon)
        buffer.app = self.app
        buffer.confirmations = self.confirmations
        self.buffer = buffer

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
        """Hand one record over; ``flush`` waits for it. Waits while the send buffer is full."""
        share = self.confirmations.expect()
        try:
            sent = await self._ensure_producer().send(
                topic,
                value,
                key=key,
                partition=partition,
                timestamp_ms=timestamp_ms,
                headers=list(headers),
            )
        except BaseException as exc:
            self.confirmations.settle(share, exc)
            raise
        sent.add_done_callback(partial(self._settle, share))

    def _settle(self, share: Share, sent: "asyncio.Future[Any]") -> None:
        error = failure_of(sent)
        self.confirmations.settle(share, error)
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
