"""Sends that are either confirmed or the end of the process.

Stock Faust's flush gives up after 100 ms without progress and only logs a failed send
(faust-streaming 0.15.3, ``transport/producer.py`` and ``topics.py``), so a commit can stand for
records that never arrived.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, cast

from faust.transport.drivers import aiokafka as driver
from faust.transport.producer import ProducerBuffer
from faust.types import AppT, FutureMessage

from marketlag.errors import SendFailed


class Confirmations:
    """Counts records that were sent and not confirmed yet; remembers the first failure."""

    def __init__(self) -> None:
        self._open = 0
        self._error: BaseException | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    def expect(self) -> None:
        self._open += 1
        if self._error is None:
            self._settled.clear()

    def settle(self, error: BaseException | None) -> None:
        self._open -= 1
        if error is not None and self._error is None:
            self._error = error
        if self._open == 0 or self._error is not None:
            self._settled.set()

    async def wait(self) -> None:
        """Return when every record is confirmed. Raises ``SendFailed`` when one cannot be."""
        await self._settled.wait()
        if self._error is not None:
            raise SendFailed(f"Kafka did not take a record: {self._error!r}") from self._error


def failure_of(sent: "asyncio.Future[Any]") -> BaseException | None:
    """Why a finished send failed; ``None`` if Kafka has the record."""
    return asyncio.CancelledError() if sent.cancelled() else sent.exception()


class StrictBuffer(ProducerBuffer):
    """Faust's buffer of ``send_soon`` records (the tables' changelogs), each one accounted for."""

    confirmations: Confirmations

    def put(self, fut: FutureMessage) -> None:
        self.confirmations.expect()
        self.pending.put_nowait(fut)

    async def _send_pending(self, fut: FutureMessage) -> None:
        try:
            sent = await fut.message.channel.publish_message(fut, wait=False)
        except Exception as exc:
            self.confirmations.settle(exc)
            raise
        assert isinstance(sent, asyncio.Future)
        sent.add_done_callback(self._settle)

    def _settle(self, sent: "asyncio.Future[Any]") -> None:
        self.confirmations.settle(
            asyncio.CancelledError() if sent.cancelled() else sent.exception()
        )

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
        self.confirmations.expect()
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
            self.confirmations.settle(exc)
            raise
        sent.add_done_callback(self._settle)

    def _settle(self, sent: "asyncio.Future[Any]") -> None:
        error = failure_of(sent)
        self.confirmations.settle(error)
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
