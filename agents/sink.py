"""SINK: rows to Postgres, upserted by version.

``lag_signals`` -> table ``lag_signals_history``; ``polymarket.price_history`` -> ``price_hourly``;
what Postgres refuses for itself -> the topic's DLQ. While Postgres is away the offsets stay where
they are. The two have queues of their own: a full hour's prices do not hold up a lag.
"""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta

from faust.types import StreamT

from marketlag import metrics
from marketlag.application import app, settings
from marketlag.engine.chunk import Chunk
from marketlag.engine.outputs import send_refused
from marketlag.event_time import parse_ms
from marketlag.history import lag_history, price_history
from marketlag.postgres import Database
from marketlag.records import LagRow, PriceRow, Refused
from marketlag.sink import Sink
from marketlag.topics import LAG_SIGNALS, PRICE_HISTORY, dlq


async def refuse(chunk: Chunk, refused: list[Refused]) -> None:
    await send_refused(app.sender, chunk, refused)


database = Database(settings.postgres_dsn.get_secret_value())
max_rows = settings.sink_max_rows
max_wait = settings.sink_max_wait / timedelta(seconds=1)
lags = lag_history(database)


async def upsert_lags(rows: list[LagRow]) -> list[tuple[LagRow, str]]:
    """Write them; measure how long the slowest of them took to get here."""
    refused = await lags.upsert(rows)
    if rows:
        now, size = time.time(), settings.window / timedelta(seconds=1)
        completed = parse_ms(min(row.detected_at for row in rows)) / 1_000
        window_end = parse_ms(min(row.window for row in rows)) / 1_000 + size
        metrics.ROW_DELAY.labels("completed").observe(max(0.0, now - completed))
        metrics.ROW_DELAY.labels("window_end").observe(max(0.0, now - window_end))
    return refused


lag_sink = Sink(LagRow, upsert_lags, refuse, max_rows=max_rows, max_wait=max_wait)
price_sink = Sink(
    PriceRow, price_history(database).upsert, refuse, max_rows=max_rows, max_wait=max_wait
)


@app.job("sink", reads=[LAG_SIGNALS], writes=[dlq(LAG_SIGNALS)], stores=["lag_signals_history"])
async def sink(chunks: StreamT[Chunk]) -> None:
    """Queue the rows; their offsets are declared when they are written."""
    async for chunk in chunks:
        with chunk:
            await lag_sink.take(chunk)


@app.job("sink_prices", reads=[PRICE_HISTORY], writes=[dlq(PRICE_HISTORY)], stores=["price_hourly"])
async def sink_prices(chunks: StreamT[Chunk]) -> None:
    """The same for prices."""
    async for chunk in chunks:
        with chunk:
            await price_sink.take(chunk)


@app.task  # type: ignore[untyped-decorator]  # Faust's own
async def write_batches() -> None:
    """Write batches as they fall due; before partitions go, write what is left."""
    app.reader.on_release += [lag_sink.release, price_sink.release]
    await asyncio.gather(lag_sink.run(), price_sink.run())


@metrics.SINK_WAITING.source
def waiting() -> Iterator[metrics.Sample]:
    yield ["lag_signals_history"], lag_sink.waiting
    yield ["price_hourly"], price_sink.waiting
