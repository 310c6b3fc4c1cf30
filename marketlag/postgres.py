"""The rows in Postgres: one upsert a batch, and what to do with each kind of error."""

import enum
from collections.abc import Iterable, Sequence

import asyncpg
import msgspec
import stamina

from marketlag.errors import DatabaseError
from marketlag.records import LagRow

#: A statement of a hundred rows takes milliseconds; past this the connection is given up.
COMMAND_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
MAX_CONNECTIONS = 4

_UPSERT = """
INSERT INTO lag_signals_history AS held (
    market, "window", outcome, signal_delta, price_delta, lag_flag, confidence, rss_signal,
    prev_rss_signal, max_signal_delta, signal_zscore, price, prev_price, stale, mention_count,
    keyword_score, source_weight_avg, detected_at, version
)
SELECT
    market, "window", outcome, signal_delta, price_delta, lag_flag, confidence, rss_signal,
    prev_rss_signal, max_signal_delta, signal_zscore, price, prev_price, stale, mention_count,
    keyword_score, source_weight_avg, detected_at, version
FROM json_to_recordset($1::json) AS row (
    market text, "window" timestamptz, outcome text, signal_delta float8, price_delta float8,
    lag_flag boolean, confidence float8, rss_signal float8, prev_rss_signal float8,
    max_signal_delta float8, signal_zscore float8, price float8, prev_price float8, stale boolean,
    mention_count integer, keyword_score float8, source_weight_avg float8,
    detected_at timestamptz, version bigint[]
)
ON CONFLICT (market, "window") DO UPDATE SET
    outcome = excluded.outcome, signal_delta = excluded.signal_delta,
    price_delta = excluded.price_delta, lag_flag = excluded.lag_flag,
    confidence = excluded.confidence, rss_signal = excluded.rss_signal,
    prev_rss_signal = excluded.prev_rss_signal, max_signal_delta = excluded.max_signal_delta,
    signal_zscore = excluded.signal_zscore, price = excluded.price,
    prev_price = excluded.prev_price, stale = excluded.stale,
    mention_count = excluded.mention_count, keyword_score = excluded.keyword_score,
    source_weight_avg = excluded.source_weight_avg, detected_at = excluded.detected_at,
    version = excluded.version, updated_at = now()
WHERE excluded.version > held.version
"""


class Fault(enum.Enum):
    """Whose fault an error is, and so what helps."""

    #: The connection, the load, another transaction: try again.
    PASSING = enum.auto()
    #: The row itself: it will be refused for ever.
    ROW = enum.auto()
    #: The schema, the rights, the settings: a person has to act.
    LASTING = enum.auto()


#: SQLSTATE classes: connection, transaction rollback, resources, operator, system.
_PASSING_CLASSES = {"08", "40", "53", "57", "58"}
#: Lock not available; a standby that is about to take over; a server that is starting.
_PASSING_STATES = {"55P03", "25006"}
#: Data exception, integrity violation, a limit exceeded (a slug too long for the index).
_ROW_CLASSES = {"22", "23", "54"}


def fault_of(error: BaseException) -> Fault:
    """Classify what a statement or a connection raised."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        if state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
            return Fault.PASSING
        return Fault.ROW if state[:2] in _ROW_CLASSES else Fault.LASTING
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Fault.LASTING
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return Fault.PASSING
    return Fault.LASTING


def newest(rows: Iterable[LagRow]) -> list[LagRow]:
    """One row per key, the one of the greatest version, in order of the key.

    A statement may touch a key once; the order keeps two workers from locking each other out.
    """
    best: dict[tuple[str, str], LagRow] = {}
    for row in rows:
        held = best.get((row.market, row.window))
        if held is None or row.version > held.version:
            best[row.market, row.window] = row
    return [best[key] for key in sorted(best)]


class LagHistory:
    """``lag_signals_history``, through a pool that connects when it is needed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool | None = None

    async def upsert(self, rows: Sequence[LagRow]) -> list[tuple[LagRow, str]]:
        """Write *rows*; a row only replaces an older version of itself.

        Waits for Postgres as long as it takes. Returns the rows that Postgres refuses for
        themselves, with its reason. Raises ``DatabaseError`` for what a person has to mend.
        """
        try:
            await self._write(newest(rows))
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            if fault_of(exc) is not Fault.ROW:
                raise _lasting(exc) from exc
            if len(rows) == 1:
                return [(rows[0], " ".join(f"{getattr(exc, 'sqlstate', '')} {exc}".split()))]
            return [refused for row in rows for refused in await self.upsert([row])]
        return []

    async def _write(self, rows: Sequence[LagRow]) -> None:
        payload = msgspec.json.encode(rows).decode()
        async for attempt in stamina.retry_context(
            on=lambda exc: fault_of(exc) is Fault.PASSING,
            attempts=None,
            timeout=None,
            wait_initial=0.2,
            wait_max=5.0,
        ):
            with attempt:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=0,
                        max_size=MAX_CONNECTIONS,
                        timeout=CONNECT_TIMEOUT,
                        command_timeout=COMMAND_TIMEOUT,
                        # A pooler in transaction mode (Supabase, PgBouncer) has no place for them.
                        statement_cache_size=0,
                    )
                await self._pool.execute(_UPSERT, payload)

    async def close(self) -> None:
        """Close without waiting for statements that hang."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


def _lasting(error: Exception) -> DatabaseError:
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return DatabaseError(f"Postgres has another schema ({error}): run `marketlag migrate`")
    return DatabaseError(f"Postgres refuses the sink: {error}")
