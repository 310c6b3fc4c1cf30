"""``api_health_log``: a row per fetch, whatever the database does."""

import asyncio

import pytest

from marketlag.event_time import SECOND
from marketlag.migrate import migrate
from producers.publish import HealthLog
from tests.support.producers import NOON
from tests.support.services import StoppablePostgres, query


def rows(dsn: str) -> list[tuple[str, str, int, str | None, float]]:
    found = query(
        dsn,
        "SELECT source, status, response_time_ms, error_message,"
        " extract(epoch FROM logged_at)::float8 FROM api_health_log ORDER BY id",
    )
    return [tuple(row) for row in found]  # type: ignore[misc]


def test_a_row_holds_no_password_and_nothing_that_postgres_cannot_hold(database: str) -> None:
    log = HealthLog(database, lambda: NOON)
    log.add("https://me:secret@a.org/feed", "ok", 12)
    log.add("b", "failed", 7, "the CLOB says: \0\ud800" + "x" * 1_000)
    asyncio.run(log.write())
    asyncio.run(log.write())
    assert rows(database) == [
        ("https://a.org/feed", "ok", 12, None, NOON / SECOND),
        ("b", "failed", 7, ("the CLOB says:  ?" + "x" * 1_000)[:500], NOON / SECOND),
    ]


def test_rows_that_postgres_refuses_hold_nobody_back(
    database: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = HealthLog(database, lambda: NOON)
    log.add("a", "ok", 2**40)
    asyncio.run(log.write())
    log.add("b", "ok", 1)
    asyncio.run(log.write())
    assert [source for source, *_ in rows(database)] == ["b"]
    assert "1 health rows are dropped" in caplog.text


def test_rows_wait_for_a_postgres_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Said once, in their order."""
    with StoppablePostgres() as server:
        migrate(server.dsn)
        log = HealthLog(server.dsn, lambda: NOON)
        server.pause()
        for source in ("a", "b"):
            log.add(source, "ok", 1)
            asyncio.run(log.write())
        server.resume()
        asyncio.run(log.write())
        assert [source for source, *_ in rows(server.dsn)] == ["a", "b"]
    assert caplog.text.count("health rows wait for Postgres") == 1
