"""What a channel is still to be told, in Postgres: claimed by one worker at a time.

An hour is claimed, sent, and then marked as sent. A worker that dies between the last two leaves
it claimed; when the claim is over, another one sends it again. That is the only way in which an
hour can be told twice.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import asyncpg

from marketlag.notify.channels import Channel
from marketlag.settings import Settings

#: Sending takes seconds; after this somebody else may try (s).
CLAIM_SECONDS = 120
#: A channel that failed is tried again after this, and after twice as long each time.
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(minutes=30)
#: Hours claimed at a time.
BATCH = 10

# The age is that of the window: history that is replayed or corrected is no news. The second
# condition on it only lets the index of flagged rows serve. Grace counts from the row's arrival, by
# Postgres's own clock.
_CLAIM = """
    WITH due AS (
        SELECT lag.market, lag."window"
        FROM lag_signals_history AS lag
        LEFT JOIN notifications AS told
            ON told.channel = $1 AND told.market = lag.market AND told."window" = lag."window"
        WHERE lag.lag_flag
          AND lag."window" >= now() - $2::interval
          AND lag.detected_at >= now() - $2::interval
          AND lag.confidence >= $3
          AND (lag.price IS NOT NULL OR lag.created_at <= now() - $4::interval)
          AND ($5 OR lag.stale IS NOT TRUE)
          AND ($6::text[] IS NULL OR lag.market = ANY($6))
          AND (told.market IS NULL OR (told.sent_at IS NULL AND told.not_before <= now()))
        ORDER BY lag.detected_at, lag.market
        LIMIT $7
    )
    INSERT INTO notifications AS told (channel, market, "window", not_before, attempts)
    SELECT $1, market, "window", now() + $8::interval, 1 FROM due
    ON CONFLICT (channel, market, "window") DO UPDATE
    SET not_before = excluded.not_before, attempts = told.attempts + 1
    WHERE told.sent_at IS NULL AND told.not_before <= now()
    RETURNING market, "window", attempts
"""

_ROW = """
    SELECT * FROM lag_signals_history WHERE market = $1 AND "window" = $2
"""

_FLAGGED_MARKETS = """
    SELECT DISTINCT market FROM lag_signals_history
    WHERE lag_flag AND detected_at >= now() - $1::interval
"""


class Outbox:
    """A channel's hours that are due."""

    def __init__(self, channel: Channel, settings: Settings) -> None:
        self._channel = channel
        self._grace, self._max_age = settings.notify_grace, settings.notify_max_age

    async def claim(self, connection: asyncpg.Connection) -> list[asyncpg.Record]:
        """Claim what is due: records of market, window and attempts so far, this one included."""
        async with connection.transaction():
            wanted = await self._wanted(connection)
            if wanted is not None and not wanted:
                return []
            return list(
                await connection.fetch(
                    _CLAIM,
                    *(self._channel.name, self._max_age, self._channel.min_confidence),
                    *(self._grace, self._channel.stale, wanted),
                    *(BATCH, timedelta(seconds=CLAIM_SECONDS)),
                )
            )

    async def _wanted(self, connection: asyncpg.Connection) -> Sequence[str] | None:
        """The markets with flags that the channel wants; ``None`` for all."""
        if not self._channel.markets:
            return None
        found = await connection.fetch(_FLAGGED_MARKETS, self._max_age)
        return [row["market"] for row in found if self._channel.wants(row["market"])]

    async def row(self, connection: asyncpg.Connection, claim: Any) -> asyncpg.Record | None:
        """The lag row as it is now; ``None`` if it is gone, or not flagged any more."""
        async with connection.transaction():
            row = await connection.fetchrow(_ROW, claim["market"], claim["window"])
        return row if row is not None and row["lag_flag"] else None

    async def sent(self, connection: asyncpg.Connection, claim: Any) -> None:
        await self._update(connection, claim, "sent_at = now()")

    async def failed(self, connection: asyncpg.Connection, claim: Any) -> None:
        """Leave it for later."""
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** min(10, claim["attempts"] - 1))
        await self._update(connection, claim, "not_before = now() + $4::interval", wait)

    async def _update(
        self, connection: asyncpg.Connection, claim: Any, change: str, *args: object
    ) -> None:
        where = 'WHERE channel = $1 AND market = $2 AND "window" = $3'
        async with connection.transaction():
            await connection.execute(
                f"UPDATE notifications SET {change} {where}",  # noqa: S608 - texts of ours
                *(self._channel.name, claim["market"], claim["window"], *args),
            )
