"""Records go out in batches, in order; a flush is over when every one before it is confirmed."""

import asyncio
from typing import Any

import pytest
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.structs import RecordMetadata, TopicPartition
from faust.types import TP

from marketlag.engine.batches import MAX_WAITING_BYTES, Batches, Confirmations
from marketlag.errors import SendFailed


async def test_a_flush_waits_for_every_record() -> None:
    """Also for those sent before others that are confirmed already."""
    confirmations = Confirmations()
    first, second = confirmations.expect(), confirmations.expect()
    flush = asyncio.ensure_future(confirmations.wait())
    await asyncio.sleep(0)
    confirmations.settle(second, None)
    await asyncio.sleep(0)
    assert not flush.done()
    confirmations.settle(first, None)
    await flush


async def test_a_flush_does_not_wait_for_records_sent_after_it() -> None:
    """On a slow network there is always one on its way; commits must not starve of that."""
    confirmations = Confirmations()
    before = confirmations.expect()
    flush = asyncio.ensure_future(confirmations.wait())
    await asyncio.sleep(0)
    confirmations.expect()
    confirmations.settle(before, None)
    async with asyncio.timeout(1):
        await flush


async def test_a_flush_waits_for_what_an_earlier_one_waits_for() -> None:
    """Two at once: the second stands for the first one's records as well."""
    confirmations = Confirmations()
    early = confirmations.expect()
    first = asyncio.ensure_future(confirmations.wait())
    await asyncio.sleep(0)
    late = confirmations.expect()
    second = asyncio.ensure_future(confirmations.wait())
    await asyncio.sleep(0)
    confirmations.settle(late, None)
    await asyncio.sleep(0)
    assert not second.done()
    confirmations.settle(early, None)
    await asyncio.gather(first, second)


async def test_a_flush_fails_with_the_first_record_that_failed() -> None:
    """And every later flush as well: nothing may be committed any more."""
    confirmations = Confirmations()
    confirmations.expect()
    failing = confirmations.expect()
    confirmations.settle(failing, OSError("gone"))
    for _ in range(2):
        with pytest.raises(SendFailed, match="gone"):
            await confirmations.wait()


async def test_a_waiting_flush_learns_of_a_failure_at_once() -> None:
    """It does not wait for the records beside it."""
    confirmations = Confirmations()
    confirmations.expect()
    flush = asyncio.ensure_future(confirmations.wait())
    await asyncio.sleep(0)
    confirmations.settle(confirmations.expect(), OSError("gone"))
    with pytest.raises(SendFailed, match="gone"):
        await flush


class Client:
    """Takes batches of one partition when told to, and confirms them when told to."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.taken: list[tuple[BatchBuilder, asyncio.Future[Any]]] = []
        self.failures: list[BaseException] = []

    def batches(self, size: int = 1_000) -> Batches:
        return Batches(lambda: BatchBuilder(size, 0), self.send, self.failures.append)

    async def send(self, _: TP, batch: BatchBuilder) -> "asyncio.Future[Any]":
        await self.gate.wait()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.taken.append((batch, future))
        return future

    @property
    def counts(self) -> list[int]:
        return [batch.record_count() for batch, _ in self.taken]

    def confirm(self, number: int, offset: int) -> None:
        tp = TopicPartition("t", 0)
        self.taken[number][1].set_result(RecordMetadata("t", 0, tp, offset, -1, 0, 0))


LOG = TP("t", 0)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_is_written_while_a_batch_waits_goes_with_it() -> None:
    """And what comes after it was taken is a batch of its own; nothing waits for more."""
    client = Client()
    batches = client.batches()
    for value in (b"a", b"b"):
        batches.write(LOG, value, key=b"k")
    await settle()
    batches.write(LOG, b"c", key=b"k")
    client.gate.set()
    await settle()
    batches.write(LOG, b"d", key=b"k")
    await settle()
    assert client.counts == [3, 1]
    assert all(batch.closed() for batch, _ in client.taken)


async def test_a_full_batch_is_followed_by_another_in_order() -> None:
    client = Client()
    client.gate.set()
    batches = client.batches(size=200)
    for number in range(5):
        batches.write(LOG, b"%d" % number * 40, key=b"k")
    await settle()
    assert sum(client.counts) == 5
    assert len(client.counts) > 1


async def test_who_wrote_learns_where_the_newest_record_is() -> None:
    """Its offset and its timestamp; a changelog's local copy is marked with them."""
    client = Client()
    client.gate.set()
    batches = client.batches()
    told: list[tuple[TP, int, int]] = []
    for timestamp in (7, 9):
        batches.write(
            LOG, b"v", key=b"k", timestamp_ms=timestamp, on_confirmed=lambda *at: told.append(at)
        )
    await settle()
    flush = asyncio.ensure_future(batches.confirmations.wait())
    await settle()
    assert not flush.done()
    client.confirm(0, offset=100)
    await flush
    assert told == [(LOG, 101, 9)]


async def test_a_batch_that_fails_fails_every_flush() -> None:
    client = Client()
    client.gate.set()
    batches = client.batches()
    batches.write(LOG, b"v", key=b"k")
    await settle()
    client.taken[0][1].set_exception(OSError("gone"))
    for _ in range(2):
        with pytest.raises(SendFailed, match="gone"):
            await batches.confirmations.wait()
    assert [str(failure) for failure in client.failures] == ["gone"]


async def test_a_client_that_takes_nothing_fails_the_flush_as_well() -> None:
    """Also for the batches that wait behind the one that it refused."""

    async def refuse(_: TP, __: BatchBuilder) -> "asyncio.Future[Any]":
        raise OSError("no room")

    failures: list[BaseException] = []
    batches = Batches(lambda: BatchBuilder(100, 0), refuse, failures.append)
    for _ in range(3):
        batches.write(LOG, b"v" * 60, key=b"k")
    with pytest.raises(SendFailed, match="no room"):
        await batches.confirmations.wait()
    assert [str(failure) for failure in failures] == ["no room"]


async def test_nothing_follows_a_batch_that_failed() -> None:
    """In no partition: a later record in the log without an earlier one would be believed."""
    client = Client()
    client.gate.set()
    batches = client.batches()
    batches.write(LOG, b"a", key=b"k")
    await settle()
    client.gate.clear()
    batches.write(LOG, b"b", key=b"k")
    await settle()
    batches.write(TP("t", 1), b"c", key=b"k")
    client.taken[0][1].set_exception(OSError("gone"))
    await settle()
    with pytest.raises(SendFailed, match="gone"):
        batches.write(LOG, b"d", key=b"k")
    with pytest.raises(SendFailed, match="gone"):
        await batches.room()


async def test_publishing_waits_while_too_much_is_on_its_way() -> None:
    """A broker that is away must not fill the memory."""
    client = Client()
    batches = client.batches(size=2 * MAX_WAITING_BYTES)
    batches.write(LOG, bytes(MAX_WAITING_BYTES - 100), key=b"k")
    await batches.room()
    batches.write(LOG, b"v", key=b"k")
    waiting = asyncio.ensure_future(batches.room())
    await settle()
    assert not waiting.done()
    client.gate.set()
    await waiting
