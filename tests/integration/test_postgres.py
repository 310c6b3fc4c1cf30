"""Migrations and the upsert on a real PostgreSQL."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator

import msgspec
import pytest

from marketlag.errors import DatabaseError
from marketlag.migrate import migrate
from marketlag.postgres import LagHistory
from marketlag.records import LagRow
from tests.support.services import StoppablePostgres, on_database, query, table
from tests.unit.test_sink import row as plain_row


def row(market: str = "m", version: int = 1, **fields: object) -> LagRow:
    base = plain_row(market, "2025-01-01T10:00:00Z", version)
    return msgspec.structs.replace(base, **fields)


MIGRATIONS = ["0001.lag-signals-history", "0002.api-health-log"]


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
async def history(database: str) -> AsyncIterator[LagHistory]:
    history = LagHistory(database)
    yield history
    await history.close()


async def test_only_a_greater_version_replaces(history: LagHistory, database: str) -> None:
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


async def test_numbers_arrive_to_the_bit(history: LagHistory, database: str) -> None:
    """Doubles and slugs of any length."""
    slug = "a-very-long-slug-" * 20
    tricky = 0.1 + 0.2
    await history.upsert([row(slug, rss_signal=tricky, signal_delta=-5e-324, keyword_score=1e300)])
    [found] = await asyncio.to_thread(table, database)
    assert (found["market"], found["rss_signal"]) == (slug, tricky)
    assert (found["signal_delta"], found["keyword_score"]) == (-5e-324, 1e300)


async def test_a_refused_row_does_not_hold_up_its_batch(history: LagHistory, database: str) -> None:
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
    history = LagHistory(empty)
    with pytest.raises(DatabaseError, match="run `marketlag migrate`"):
        await history.upsert([row()])
    await history.close()


async def test_workers_that_write_the_same_rows_do_not_lock_each_other_out(
    database: str,
) -> None:
    """Keys are in order, deadlocks and serialisation failures are tried again."""
    histories = [LagHistory(database) for _ in range(4)]
    rows = [[row(f"m{n % 20}", version=v) for n in range(100)] for v in range(40)]
    await asyncio.gather(*(history.upsert(rows[v]) for history in histories for v in range(40)))
    for history in histories:
        await history.close()
    found = await asyncio.to_thread(table, database)
    assert [each["version"][0] for each in found] == [39] * 20


async def test_the_sink_waits_for_a_postgres_that_is_away() -> None:
    """Connections that broke are made anew."""
    with StoppablePostgres() as server:
        await asyncio.to_thread(migrate, server.dsn)
        history = LagHistory(server.dsn)
        await history.upsert([row("before")])
        await asyncio.to_thread(server.pause)
        writing = asyncio.ensure_future(history.upsert([row("after")]))
        done, _ = await asyncio.wait([writing], timeout=1.0)
        assert not done
        await asyncio.to_thread(server.resume)
        assert await writing == []
        found = await asyncio.to_thread(table, server.dsn)
        assert [each["market"] for each in found] == ["after", "before"]
        await history.close()
