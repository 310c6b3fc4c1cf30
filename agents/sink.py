"""SINK: rows to Postgres, upserted by version.

``lag_signals`` -> table ``lag_signals_history``; ``polymarket.price_history`` -> ``price_hourly``;
what Postgres refuses for itself -> the topic's DLQ. While Postgres is away the offsets stay where
they are. The two have queues of their own: a full hour's prices do not hold up a lag.
"""

import asyncio
from datetime import timedelta

from faust.types import StreamT

from marketlag.application import app, settings
from marketlag.engine.chunk import Chunk
from marketlag.engine.outputs import send_refused
from marketlag.history import lag_history, price_history
from marketlag.postgres import Database
from marketlag.records import LagRow, PriceRow, Refused
from marketlag.sink import Sink
from marketlag.topics import LAG_SIGNALS, PRICE_HISTORY


async def refuse(chunk: Chunk, refused: list[Refused]) -> None:
    await send_refused(app.sender, chunk, refused)


database = Database(settings.postgres_dsn.get_secret_value())
max_rows = settings.sink_max_rows
max_wait = settings.sink_max_wait / timedelta(seconds=1)
lag_sink = Sink(LagRow, lag_history(database).upsert, refuse, max_rows=max_rows, max_wait=max_wait)
price_sink = Sink(
    PriceRow, price_history(database).upsert, refuse, max_rows=max_rows, max_wait=max_wait
)


@app.agent(app.chunks(LAG_SIGNALS), name="sink")
async def sink(chunks: StreamT[Chunk]) -> None:
    """Queue the rows; their offsets are declared when they are written."""
    async for chunk in chunks:
        with chunk:
            await lag_sink.take(chunk)


@app.agent(app.chunks(PRICE_HISTORY), name="sink_prices")
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
