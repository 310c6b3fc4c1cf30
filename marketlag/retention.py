"""What is too old goes from Postgres, a few thousand rows at a time."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import asyncpg

from marketlag.settings import Settings

#: Rows of one transaction: milliseconds, in which the worker's upserts may have to wait.
BATCH_ROWS = 5_000

#: Told how many rows are deleted, of how many.
Report = Callable[[int, int], None]


class Retention(NamedTuple):
    """A table, the column that tells a row's age, and the age at which it goes."""

    table: str
    column: str
    age: timedelta


def retentions(settings: Settings) -> list[Retention]:
    """Windows and hours age by event time, fetches by when they were made."""
    return [
        Retention("lag_signals_history", '"window"', settings.history_retention),
        Retention("price_hourly", "hour", settings.history_retention),
        Retention("notifications", '"window"', settings.history_retention),
        Retention("api_health_log", "logged_at", settings.health_retention),
    ]


async def count_old(connection: asyncpg.Connection, of: Retention, now: datetime) -> int:
    """Rows older than their retention."""
    sql = f"SELECT count(*) FROM {of.table} WHERE {of.column} < $1"  # noqa: S608 - names of ours
    return int(await connection.fetchval(sql, now - of.age))


async def prune(
    connection: asyncpg.Connection,
    of: Retention,
    now: datetime,
    report: Report = lambda _done, _of: None,
) -> int:
    """Delete a table's old rows; returns how many.

    Each batch is a transaction of its own and waits for nobody: a row that the worker is writing
    at this moment stays until the next time.
    """
    total = await count_old(connection, of, now)
    deleted = 0
    # Only the names of tables and columns above go into it.
    sql = f"""
        DELETE FROM {of.table} WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM {of.table} WHERE {of.column} < $1
            ORDER BY {of.column} LIMIT {BATCH_ROWS} FOR UPDATE SKIP LOCKED
        ))
    """  # noqa: S608
    # A batch can be short of rows that changed under its hands; the next one finds them.
    while gone := int((await connection.execute(sql, now - of.age)).removeprefix("DELETE ")):
        deleted += gone
        report(deleted, max(total, deleted))
    return deleted
