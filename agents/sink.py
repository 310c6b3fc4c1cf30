"""SINK: lag rows to Postgres.

``lag_signals`` -> table ``lag_signals_history``, upserted by version; what Postgres refuses for
itself -> ``dlq.lag_signals``. While Postgres is away the offsets stay where they are.
"""

from datetime import timedelta

import msgspec
from faust.types import StreamT

from marketlag.application import app, settings
from marketlag.engine.chunk import Chunk
from marketlag.engine.outputs import send_refused
from marketlag.postgres import LagHistory
from marketlag.records import LagRow, LogRecord, Refused, undecodable
from marketlag.sink import Item, Sink
from marketlag.topics import LAG_SIGNALS

_decode = msgspec.json.Decoder(LagRow).decode
history = LagHistory(settings.postgres_dsn.get_secret_value())


async def refuse(chunk: Chunk, refused: list[Refused]) -> None:
    await send_refused(app.sender, chunk, refused)


lag_sink = Sink(
    history.upsert,
    refuse,
    max_rows=settings.sink_max_rows,
    max_wait=settings.sink_max_wait / timedelta(seconds=1),
)


@app.agent(app.chunks(LAG_SIGNALS), name="sink")
async def sink(chunks: StreamT[Chunk]) -> None:
    """Queue the rows; their offsets are declared when they are written."""
    async for chunk in chunks:
        with chunk:
            await lag_sink.add([await to_item(chunk, record) for record in chunk.records])


async def to_item(chunk: Chunk, record: LogRecord) -> Item:
    try:
        return Item(chunk, record, _decode(record.value or b""))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        await refuse(chunk, [Refused(record, undecodable(exc))])
        return Item(chunk, record, None)


@app.task  # type: ignore[untyped-decorator]  # Faust's own
async def write_batches() -> None:
    """Write batches as they fall due; before partitions go, write what is left."""
    app.reader.on_release.append(lag_sink.release)
    await lag_sink.run()
