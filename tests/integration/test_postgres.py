"""Migrations and the upsert on a real PostgreSQL."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marketlag.errors import DatabaseError
from marketlag.event_time import MINUTE, format_ms, parse_ms
from marketlag.history import History, lag_history, price_history
from marketlag.migrate import migrate
from marketlag.postgres import Database
from marketlag.records import LagRow, Price, PriceRow
from marketlag.rules.prices import CheckedPrice, row_of
from tests.support.logs import Record
from tests.support.services import StoppablePostgres, on_database, query, table
from tests.unit.test_sink import row as plain_row


def row(market: str = "m", version: int = 1, **fields: object) -> LagRow:
    base = plain_row(market, "2025-01-01T10:00:00Z", version)
    return msgspec.structs.replace(base, **fields)


MIGRATIONS = [
    "0001.lag-signals-history",
    "0002.api-health-log",
    "0003.price-hourly",
    "0004.notifications",
]


@pytest.fixture
def empty(postgres: str) -> str:
    name = f"empty_{uuid.uuid4().hex[:8]}"
    query(postgres, f'CREATE DATABASE "{name}"')
    return on_database(postgres, name)


def test_migrations_are_applied_in_order_and_once(empty: str) -> None:
    """And recorded."""
    assert migrate(empty) == MIGRATIONS
    assert migrate(empty) == []
    applied = query(empty, "SELECT migration_id FROM _yoyo_migration")
    assert sorted(each["migration_id"] for each in applied) == MIGRATIONS


def test_several_processes_may_migrate_at_once(empty: str) -> None:
    """They take turns; one of them does the work."""
    code = f"from marketlag.migrate import migrate; print(len(migrate({empty!r})))"
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    counts = [process.communicate(timeout=60)[0].strip() for process in running]
    assert sorted(counts) == ["0", "0", "0", str(len(MIGRATIONS))]


def test_a_killed_migration_does_not_lock_the_next_one_out(empty: str) -> None:
    """Its lock row is left, its advisory lock is not."""
    migrate(empty)
    query(empty, "INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert migrate(empty) == []


def test_a_database_that_cannot_be_reached_is_one_line(postgres: str) -> None:
    """Without a traceback."""
    with pytest.raises(DatabaseError) as caught:
        migrate(on_database(postgres, "missing"))
    assert 'database "missing" does not exist' in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
async def connection(database: str) -> AsyncIterator[Database]:
    connection = Database(database)
    yield connection
    await connection.close()


@pytest.fixture
def history(connection: Database) -> History[LagRow]:
    return lag_history(connection)


async def test_only_a_greater_version_replaces(history: History[LagRow], database: str) -> None:
    """An equal or smaller one leaves the row alone, updated_at included."""
    assert await history.upsert([row(version=5, price=0.5)]) == []
    before = await asyncio.to_thread(table, database)
    await history.upsert([row(version=5, price=0.6), row(version=4, price=0.7)])
    assert await asyncio.to_thread(table, database) == before
    await history.upsert([row(version=6, price=0.8), row(version=7, price=0.9)])
    [after] = await asyncio.to_thread(table, database)
    assert (after["price"], after["version"]) == (0.9, [7, 0, 0, 0])
    assert after["created_at"] == before[0]["created_at"]
    assert after["updated_at"] > before[0]["updated_at"]


async def test_numbers_arrive_to_the_bit(history: History[LagRow], database: str) -> None:
    """Doubles and slugs of any length."""
    slug = "a-very-long-slug-" * 20
    tricky = 0.1 + 0.2
    await history.upsert([row(slug, rss_signal=tricky, signal_delta=-5e-324, keyword_score=1e300)])
    [found] = await asyncio.to_thread(table, database)
    assert (found["market"], found["rss_signal"]) == (slug, tricky)
    assert (found["signal_delta"], found["keyword_score"]) == (-5e-324, 1e300)


async def test_a_refused_row_does_not_hold_up_its_batch(
    history: History[LagRow], database: str
) -> None:
    """A NUL in a text, a count that is no integer of Postgres: refused for themselves."""
    rows = [row("a"), row("nul\0"), row("big", mention_count=2**40), row("z")]
    refused = await history.upsert(rows)
    assert {each.market: reason[:5] for each, reason in refused} == {
        "nul\0": "22P05",
        "big": "22003",
    }
    assert [each["market"] for each in await asyncio.to_thread(table, database)] == ["a", "z"]


async def test_a_missing_table_is_said_in_one_line(empty: str) -> None:
    """With the command that makes it."""
    connection = Database(empty)
    with pytest.raises(DatabaseError, match="run `marketlag migrate`"):
        await lag_history(connection).upsert([row()])
    await connection.close()


async def test_workers_that_write_the_same_rows_do_not_lock_each_other_out(
    database: str,
) -> None:
    """Keys are in order, deadlocks and serialisation failures are tried again."""
    connections = [Database(database) for _ in range(4)]
    histories = [lag_history(connection) for connection in connections]
    rows = [[row(f"m{n % 20}", version=v) for n in range(100)] for v in range(40)]
    await asyncio.gather(*(history.upsert(rows[v]) for history in histories for v in range(40)))
    for connection in connections:
        await connection.close()
    found = await asyncio.to_thread(table, database)
    assert [each["version"][0] for each in found] == [39] * 20


async def test_the_sink_waits_for_a_postgres_that_is_away() -> None:
    """Connections that broke are made anew."""
    with StoppablePostgres() as server:
        await asyncio.to_thread(migrate, server.dsn)
        connection = Database(server.dsn)
        history = lag_history(connection)
        await history.upsert([row("before")])
        await asyncio.to_thread(server.pause)
        writing = asyncio.ensure_future(history.upsert([row("after")]))
        done, _ = await asyncio.wait([writing], timeout=1.0)
        assert not done
        await asyncio.to_thread(server.resume)
        assert await writing == []
        found = await asyncio.to_thread(table, server.dsn)
        assert [each["market"] for each in found] == ["after", "before"]
        await connection.close()


def price_row(price: float = 0.5, *, fetched: int = 1, offset: int = 1, **fields: Any) -> PriceRow:
    """A fresh price of YES at ten, fetched so many minutes into the hour."""
    ten = parse_ms("2025-01-01T10:00:00Z")
    record = Record(offset, b"")
    fetched_at = format_ms(ten + fetched * MINUTE)
    value = {"outcome": "YES", "price_delta": 0.0, **fields}
    checked = Price(
        market_slug="m", price=price, event_time=format_ms(ten), fetched_at=fetched_at, **value
    )
    return row_of(CheckedPrice(checked, record, ten), partition=0)


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("rows", "kept"),
    [
        ([price_row(0.4), price_row(0.5, stale=True, fetched=9, offset=2)], 0.4),
        ([price_row(0.4, stale=True), price_row(0.5, offset=2)], 0.5),
        ([price_row(0.4, fetched=2), price_row(0.5, fetched=1, offset=2)], 0.4),
        ([price_row(0.4), price_row(0.5, offset=2)], 0.5),
        ([price_row(0.5, offset=2), price_row(0.4)], 0.5),
        ([price_row(0.4), price_row(0.5, outcome="yes", offset=2)], 0.5),
    ],
    ids=["stale-later", "fresh", "fetched-earlier", "equal", "equal-again", "folded"],
)
async def test_the_best_price_of_an_hour_stays(
    connection: Database, database: str, rows: list[PriceRow], kept: float, together: bool
) -> None:
    """Not stale, then the latest fetch, then the later offset: in one batch and in several."""
    history = price_history(connection)
    for batch in [rows] if together else [[each] for each in rows]:
        assert await history.upsert(batch) == []
    [found] = await asyncio.to_thread(query, database, "SELECT * FROM price_hourly")
    assert (found["price"], found["outcome_key"]) == (kept, "yes")


@given(data=st.data())
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_prices_end_the_same_however_they_are_batched_and_repeated(
    connection: Database, database: str, data: st.DataObject
) -> None:
    """Equal ones in turn, of one rank: the latest stays, whatever a previous owner writes again."""
    count = data.draw(st.integers(1, 6))
    contents = data.draw(st.lists(st.sampled_from([0.4, 0.5]), min_size=count, max_size=count))
    prices = [price_row(content, offset=offset) for offset, content in enumerate(contents)]
    history = price_history(connection)
    slices = st.tuples(st.integers(0, count), st.integers(0, count)).map(sorted)
    repeats = [(0, count), *data.draw(st.lists(slices, max_size=4), label="repeated")]
    await connection.execute("TRUNCATE price_hourly")
    for first, last in repeats:
        cut = data.draw(st.integers(first, last), label="cut")
        for batch in (prices[first:cut], prices[cut:last]):
            await history.upsert(batch)
    [found] = await asyncio.to_thread(query, database, "SELECT * FROM price_hourly")
    assert (found["price"], tuple(found["version"])) == (contents[-1], prices[-1].version)


async def test_outcomes_have_prices_of_their_own(connection: Database, database: str) -> None:
    """Also those that no rule tracks."""
    no = price_row(0.6, outcome="No", offset=2)
    assert await price_history(connection).upsert([price_row(0.4), no]) == []
    sql = "SELECT outcome, price FROM price_hourly ORDER BY outcome_key"
    found = await asyncio.to_thread(query, database, sql)
    assert [tuple(each) for each in found] == [("No", 0.6), ("YES", 0.4)]


async def test_every_signal_is_in_the_view(history: History[LagRow], database: str) -> None:
    """With the columns of the topic; a lag row holds the whole of its signal."""
    await history.upsert([row(mention_count=3, rss_signal=1.5, keyword_score=4.5)])
    [found] = await asyncio.to_thread(query, database, "SELECT * FROM rss_signals_hourly")
    names = ("market", "mention_count", "keyword_score", "source_weighted_signal")
    assert [found[name] for name in names] == ["m", 3, 4.5, 1.5]
