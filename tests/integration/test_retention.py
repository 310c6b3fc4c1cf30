"""What is too old goes, in small transactions, beside a worker that writes."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from marketlag import retention
from marketlag.event_time import DAY, HOUR, format_ms, from_datetime
from marketlag.history import lag_history, price_history
from marketlag.postgres import Database, connected
from marketlag.records import LagRow, PriceRow
from marketlag.retention import prune, retentions
from marketlag.settings import load_settings
from tests.integration.test_postgres import price_row, row
from tests.support.services import query, table

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOW_MS = from_datetime(NOW)


def aged(days: float) -> str:
    return format_ms(NOW_MS - int(days * DAY))


def lag_row(days: float, market: str = "m") -> LagRow:
    return msgspec.structs.replace(row(market), window=aged(days))


def priced(days: float) -> PriceRow:
    return msgspec.structs.replace(price_row(), hour=aged(days))


async def prune_all(dsn: str) -> dict[str, int]:
    async with connected(dsn) as connection:
        return {
            each.table: await prune(connection, each, NOW) for each in retentions(load_settings())
        }


async def count(dsn: str, name: str) -> int:
    [found] = await asyncio.to_thread(query, dsn, f"SELECT count(*) FROM {name}")
    return int(found["count"])


async def test_rows_go_when_they_are_older_than_their_retention(database: str) -> None:
    """Ninety days for windows and prices, thirty for fetches; what is as old as that stays."""
    connection = Database(database)
    days = [0, 89, 90, 90.5, 365]
    await lag_history(connection).upsert([lag_row(each) for each in days])
    await price_history(connection).upsert([priced(each) for each in days])
    await connection.execute(
        "INSERT INTO api_health_log (source, status, response_time_ms, logged_at) "
        "SELECT 's', 'ok', 1, $1::timestamptz - n * interval '1 day' FROM generate_series(1, 40) n",
        NOW,
    )
    await connection.close()
    assert await prune_all(database) == {
        "lag_signals_history": 2,
        "price_hourly": 2,
        "notifications": 0,
        "api_health_log": 10,
    }
    windows = [each["window"] for each in await asyncio.to_thread(table, database)]
    assert windows == [NOW - timedelta(days=each) for each in (90, 89, 0)]
    assert await prune_all(database) == dict.fromkeys(
        ("lag_signals_history", "price_hourly", "notifications", "api_health_log"), 0
    )


async def test_it_goes_on_batch_by_batch(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And tells how far it is."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 7)
    connection = Database(database)
    await lag_history(connection).upsert([lag_row(100 + n) for n in range(20)])
    await connection.close()
    told: list[tuple[int, int]] = []
    async with connected(database) as connected_:
        [lags, *_] = retentions(load_settings())
        assert await prune(connected_, lags, NOW, lambda *seen: told.append(seen)) == 20
    assert told == [(7, 20), (14, 20), (20, 20)]


async def test_a_row_that_is_being_written_stays_and_holds_nothing_up(database: str) -> None:
    """Until the next time."""
    connection = Database(database)
    await lag_history(connection).upsert([lag_row(100, "a"), lag_row(100, "b")])
    await connection.close()
    async with connected(database) as writing, writing.transaction():
        await writing.execute("UPDATE lag_signals_history SET outcome = 'x' WHERE market = 'a'")
        assert (await prune_all(database))["lag_signals_history"] == 1
    assert [each["market"] for each in await asyncio.to_thread(table, database)] == ["a"]
    assert (await prune_all(database))["lag_signals_history"] == 1


async def test_pruning_beside_the_sink_loses_no_row_that_is_young(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Old and young rows written again and again, while old ones are deleted."""
    monkeypatch.setattr(retention, "BATCH_ROWS", 3)
    connection = Database(database)
    history = lag_history(connection)
    ages = [HOUR * n / DAY for n in range(40)] + [91 + n for n in range(40)]

    async def write() -> None:
        for version in range(30):
            rows: list[Any] = [lag_row(age, f"m{n}") for n, age in enumerate(ages)]
            again = [msgspec.structs.replace(r, version=(version, 0, 0, 0)) for r in rows]
            assert await history.upsert(again) == []

    async def keep_pruning() -> None:
        while not writing.done():
            await prune_all(database)

    writing = asyncio.ensure_future(write())
    await asyncio.gather(writing, keep_pruning())
    await prune_all(database)
    found = await asyncio.to_thread(table, database)
    await connection.close()
    assert len(found) == 40
    assert {each["version"][0] for each in found} == {29}
