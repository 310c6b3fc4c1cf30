"""A flush is over when every record is confirmed, and fails when one is not."""

import asyncio

import pytest

from marketlag.engine.producer import Confirmations
from marketlag.errors import SendFailed


async def test_a_flush_waits_for_every_record() -> None:
    """Also for those sent before others that are confirmed already."""
    confirmations = Confirmations()
    confirmations.expect()
    confirmations.expect()
    flush = asyncio.ensure_future(confirmations.wait())
    confirmations.settle(None)
    await asyncio.sleep(0)
    assert not flush.done()
    confirmations.settle(None)
    await flush


async def test_a_flush_fails_with_the_first_record_that_failed() -> None:
    """And every later flush as well: nothing may be committed any more."""
    confirmations = Confirmations()
    confirmations.expect()
    confirmations.expect()
    confirmations.settle(OSError("gone"))
    for _ in range(2):
        with pytest.raises(SendFailed, match="gone"):
            await confirmations.wait()
