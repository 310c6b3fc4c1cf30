"""Every write to ``lag_signals_history``, kept by a trigger: nothing is seen only at the end."""

from datetime import datetime
from typing import Any, NamedTuple

from tests.support.services import query

_INSTALL = (
    """
    CREATE TABLE audit (
        id bigserial PRIMARY KEY, at timestamptz NOT NULL, market text, "window" timestamptz,
        mention_count integer, version bigint[]
    )
    """,
    """
    CREATE FUNCTION keep_audit() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' THEN
            RAISE EXCEPTION 'nobody deletes rows';
        ELSIF TG_OP = 'INSERT' OR NEW.version IS DISTINCT FROM OLD.version THEN
            INSERT INTO audit (at, market, "window", mention_count, version)
            VALUES (clock_timestamp(), NEW.market, NEW."window", NEW.mention_count, NEW.version);
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER keep_audit AFTER INSERT OR UPDATE OR DELETE ON lag_signals_history
    FOR EACH ROW EXECUTE FUNCTION keep_audit()
    """,
)


class Write(NamedTuple):
    at: datetime
    market: str
    window: datetime
    mention_count: int
    version: tuple[int, ...]


def install(dsn: str) -> None:
    for statement in _INSTALL:
        query(dsn, statement)


def writes(dsn: str) -> list[Write]:
    """All writes that changed a version, in order."""
    rows = query(dsn, 'SELECT at, market, "window", mention_count, version FROM audit ORDER BY id')
    return [Write(*list(row.values())[:-1], tuple(row["version"])) for row in rows]


def rows(dsn: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """``lag_signals_history`` by market and window."""
    return _by_key(dsn, "lag_signals_history", "market", "window")


def prices(dsn: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """``price_hourly`` by market, outcome and hour."""
    return _by_key(dsn, "price_hourly", "market", "outcome_key", "hour")


def _by_key(dsn: str, table: str, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """``SELECT *`` by key, without the two clocks of the database."""
    return {
        tuple(row[name] for name in key): {
            name: tuple(value) if name == "version" else value
            for name, value in row.items()
            if name not in (*key, "created_at", "updated_at")
        }
        for row in query(dsn, f"SELECT * FROM {table}")
    }
