"""JOB 2: hourly prices checked, clamped and re-keyed by market.

``polymarket.price_hourly`` -> ``polymarket.price_normalized`` for the join, and
``polymarket.price_history`` for Postgres; what cannot be used -> ``dlq.polymarket.price_hourly``.
The rules are ``marketlag.rules.prices``; the only state is the log's clock, in the commit's
metadata.
"""

import time
from collections.abc import Iterator

import msgspec
from faust.types import StreamT

from marketlag import metrics
from marketlag.application import app, settings
from marketlag.engine.chunk import Chunk, PerPartition
from marketlag.engine.outputs import send_refused
from marketlag.event_time import BEGINNING, format_ms
from marketlag.records import (
    HEARTBEAT,
    SOURCE_CLOCK,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    PriceClock,
)
from marketlag.rules.prices import CheckedPrice, check_all, row_of
from marketlag.topics import PRICE_HISTORY, PRICE_HOURLY, PRICE_NORMALIZED, dlq


class Clock(msgspec.Struct):
    """The newest event time of a partition's log (ms)."""

    time: int


def committed_clock(chunk: Chunk) -> Clock:
    return Clock(int(chunk.lease.metadata or BEGINNING))


partitions = PerPartition(committed_clock)


@app.job(
    "prices", reads=[PRICE_HOURLY], writes=[PRICE_NORMALIZED, PRICE_HISTORY, dlq(PRICE_HOURLY)]
)
async def prices(chunks: StreamT[Chunk]) -> None:
    """Send the good prices on, with where they came from; tell everybody how far the log is."""
    async for chunk in chunks:
        with chunk:
            clock = partitions[chunk]
            out = check_all(chunk.records, clock.time)
            for checked in out.prices:
                await send_price(chunk, checked)
                await send_row(chunk, checked)
            if out.clock > clock.time:
                clock.time = out.clock
                await tell_clock(chunk, out.clock)
            await send_refused(app.sender, chunk, out.refused)
            chunk.lease.advance(chunk.end, str(out.clock))


async def send_price(chunk: Chunk, checked: CheckedPrice) -> None:
    await app.sender.publish(
        PRICE_NORMALIZED,
        msgspec.json.encode(checked.price),
        key=checked.price.market_slug.encode(),
        timestamp_ms=checked.record.timestamp,
        headers=[
            (SOURCE_PARTITION, str(chunk.partition).encode()),
            (SOURCE_OFFSET, str(checked.record.offset).encode()),
            (SOURCE_CLOCK, str(checked.clock).encode()),
        ],
    )


async def send_row(chunk: Chunk, checked: CheckedPrice) -> None:
    row = row_of(checked, chunk.partition)
    await app.sender.publish(
        PRICE_HISTORY,
        msgspec.json.encode(row),
        key=f"{row.market}|{row.outcome_key}".encode(),
        timestamp_ms=checked.record.timestamp,
    )


async def tell_clock(chunk: Chunk, clock: int) -> None:
    """Tell every partition: state that this log may still need is kept until then."""
    value = msgspec.json.encode(PriceClock(HEARTBEAT, format_ms(clock)))
    for partition in range(settings.partitions):
        await app.sender.publish(
            PRICE_NORMALIZED,
            value,
            key=HEARTBEAT.encode(),
            partition=partition,
            timestamp_ms=chunk.records[-1].timestamp,
            headers=[(SOURCE_PARTITION, str(chunk.partition).encode())],
        )


@metrics.WATERMARK.source
def clocks() -> Iterator[metrics.Sample]:
    for partition, clock in partitions.held(app.reader.positions.term):
        if clock.time != BEGINNING:
            yield (PRICE_HOURLY, partition), clock.time / 1_000


@metrics.WATERMARK_DISTANCE.source
def distances() -> Iterator[metrics.Sample]:
    for labels, clock in clocks():
        yield labels, time.time() - clock
