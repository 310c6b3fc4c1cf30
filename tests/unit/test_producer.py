"""A flush is over when every record before it is confirmed, and fails when one is not."""

import asyncio

import pytest

from marketlag.engine.producer import Confirmations
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
