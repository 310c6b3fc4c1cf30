"""The tables that the sink writes: one upsert a batch, and only a greater version replaces."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

import asyncpg
import msgspec

from marketlag import metrics
from marketlag.postgres import Database, Fault, fault_of, lasting
from marketlag.records import LagRow, PriceRow


class VersionedRow(Protocol):
    """A row with its key, and what orders the versions of it."""

    @property
    def key(self) -> tuple[str, ...]: ...
    @property
    def version(self) -> tuple[int, ...]: ...


Row = TypeVar("Row", bound=VersionedRow)


def newest(rows: Iterable[Row]) -> list[Row]:
    """One row per key, the one of the greatest version, in order of the key.

    A statement may touch a key once; the order keeps two workers from locking each other out.
    """
    best: dict[tuple[str, ...], Row] = {}
    for row in rows:
        held = best.get(row.key)
        if held is None or row.version > held.version:
            best[row.key] = row
    return [best[key] for key in sorted(best)]


class History(Generic[Row]):
    """One table's rows.

    Args:
        columns: names, those of the rows' fields, and types in Postgres.
        key: the columns of the primary key.
    """

    def __init__(
        self, database: Database, table: str, columns: Mapping[str, str], *, key: Sequence[str]
    ) -> None:
        self._database = database
        self._table = table
        self._upsert = _upsert(table, columns, key)

    async def upsert(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        """Write *rows*; a row only replaces an older version of itself.

        Waits for Postgres as long as it takes. Returns the rows that Postgres refuses for
        themselves, with its reason. Raises ``DatabaseError`` for what a person has to mend.
        """
        metrics.SINK_BATCH_ROWS.labels(self._table).observe(len(rows))
        with metrics.SINK_SECONDS.labels(self._table).time():
            return await self._write(rows)

    async def _write(self, rows: Sequence[Row]) -> list[tuple[Row, str]]:
        try:
            payload = msgspec.json.encode(newest(rows)).decode()
            changed = await self._database.execute(self._upsert, payload)
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            if fault_of(exc) is not Fault.ROW:
                raise lasting(exc) from exc
            if len(rows) == 1:
                return [(rows[0], " ".join(f"{getattr(exc, 'sqlstate', '')} {exc}".split()))]
            return [refused for row in rows for refused in await self._write([row])]
        metrics.SINK_ROWS.labels(self._table).inc(changed)
        metrics.DUPLICATES_FENCED.labels("row").inc(len(rows) - changed)
        return []


def _upsert(table: str, columns: Mapping[str, str], key: Sequence[str]) -> str:
    names = ", ".join(f'"{name}"' for name in columns)
    types = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    replaced = ", ".join(f'"{name}" = excluded."{name}"' for name in columns if name not in key)
    # Only names from this file go in; the rows are the statement's argument.
    return f"""
        INSERT INTO {table} AS held ({names})
        SELECT {names} FROM json_to_recordset($1::json) AS row ({types})
        ON CONFLICT ({", ".join(f'"{name}"' for name in key)}) DO UPDATE
        SET {replaced}, updated_at = now()
        WHERE excluded.version > held.version
    """  # noqa: S608


def lag_history(database: Database) -> History[LagRow]:
    """``lag_signals_history``."""
    return History(
        database,
        "lag_signals_history",
        {
            "market": "text",
            "window": "timestamptz",
            "outcome": "text",
            "signal_delta": "float8",
            "price_delta": "float8",
            "lag_flag": "boolean",
            "confidence": "float8",
            "rss_signal": "float8",
            "prev_rss_signal": "float8",
            "max_signal_delta": "float8",
            "signal_zscore": "float8",
            "price": "float8",
            "prev_price": "float8",
            "stale": "boolean",
            "mention_count": "integer",
            "keyword_score": "float8",
            "source_weight_avg": "float8",
            "detected_at": "timestamptz",
            "version": "bigint[]",
        },
        key=("market", "window"),
    )


def price_history(database: Database) -> History[PriceRow]:
    """``price_hourly``."""
    return History(
        database,
        "price_hourly",
        {
            "market": "text",
            "outcome": "text",
            "outcome_key": "text",
            "hour": "timestamptz",
            "price": "float8",
            "prev_price": "float8",
            "price_delta": "float8",
            "stale": "boolean",
            "fetched_at": "timestamptz",
            "version": "bigint[]",
        },
        key=("market", "outcome_key", "hour"),
    )
