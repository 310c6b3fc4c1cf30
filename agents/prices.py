"""JOB 2: hourly prices checked, clamped and re-keyed by market.

``polymarket.price_hourly`` -> ``polymarket.price_normalized``; what cannot be used ->
``dlq.polymarket.price_hourly``. The rules are ``marketlag.rules.prices``; there is no state.
"""

import msgspec
from faust.types import StreamT

from marketlag.application import app
from marketlag.engine.chunk import Chunk
from marketlag.engine.outputs import send_refused
from marketlag.records import SOURCE_OFFSET, SOURCE_PARTITION
from marketlag.rules.prices import check_all
from marketlag.topics import PRICE_HOURLY, PRICE_NORMALIZED


@app.agent(app.chunks(PRICE_HOURLY), name="prices")
async def prices(chunks: StreamT[Chunk]) -> None:
    """Send the good prices on, with the offset they came from."""
    async for chunk in chunks:
        with chunk:
            out = check_all(chunk.records)
            for checked in out.prices:
                await app.sender.publish(
                    PRICE_NORMALIZED,
                    msgspec.json.encode(checked.price),
                    key=checked.price.market_slug.encode(),
                    timestamp_ms=checked.record.timestamp,
                    headers=[
                        (SOURCE_PARTITION, str(chunk.partition).encode()),
                        (SOURCE_OFFSET, str(checked.record.offset).encode()),
                    ],
                )
            await send_refused(app.sender, chunk, out.refused)
            chunk.lease.advance(chunk.end)
