"""Rows of a real PostgreSQL as CSV, JSON lines and Parquet."""

import io
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest

from marketlag import export
from marketlag.event_time import format_ms
from marketlag.export import EXPORTS, Selection, new_writer, rows_of
from marketlag.history import lag_history, price_history
from marketlag.postgres import Database, connected
from tests.integration.test_postgres import price_row, row
from tests.support.logs import at

TEN = datetime(2025, 1, 1, 10, tzinfo=UTC)
ELEVEN = datetime(2025, 1, 1, 11, tzinfo=UTC)
EVERYTHING = Selection()


@pytest.fixture
async def filled(database: str) -> str:
    """Two markets, two hours; a price of each outcome."""
    connection = Database(database)
    rows = [row("b"), row('a, "quoted"', signal_delta=1.5, signal_zscore=-0.1, lag_flag=True)]
    later = msgspec.structs.replace(row("b"), window=format_ms(at("11:00")))
    await lag_history(connection).upsert([later, *rows])
    prices = [price_row(0.4), price_row(0.6, outcome="No", stale=True)]
    await price_history(connection).upsert(prices)
    await connection.close()
    return database


async def exported(dsn: str, what: str, kind: str, chosen: Selection = EVERYTHING) -> bytes:
    out = io.BytesIO()
    writer = new_writer(kind, EXPORTS[what], out)
    async with connected(dsn) as connection, rows_of(connection, EXPORTS[what], chosen) as rows:
        async for batch in rows.batches:
            writer.write(batch)
    writer.close()
    return out.getvalue()


async def test_prices_as_csv(filled: str) -> None:
    """Times with Z, true and false, nothing where there is nothing."""
    assert (await exported(filled, "prices", "csv")).decode() == (
        "market,outcome,hour,price,prev_price,price_delta,stale,fetched_at\n"
        "m,No,2025-01-01T10:00:00Z,0.6,,0.0,true,2025-01-01T10:01:00Z\n"
        "m,YES,2025-01-01T10:00:00Z,0.4,,0.0,false,2025-01-01T10:01:00Z\n"
    )


async def test_signals_as_json_lines(filled: str) -> None:
    """In order of time, then of market."""
    lines = (await exported(filled, "signals", "jsonl")).splitlines()
    assert [msgspec.json.decode(line) for line in lines] == [
        {
            "market": market,
            "window": window,
            "mention_count": 1,
            "keyword_score": 1.0,
            "source_weighted_signal": 1.0,
            "source_weight_avg": 1.0,
        }
        for market, window in [
            ('a, "quoted"', "2025-01-01T10:00:00Z"),
            ("b", "2025-01-01T10:00:00Z"),
            ("b", "2025-01-01T11:00:00Z"),
        ]
    ]


@pytest.mark.parametrize("size", [1, 2, 20_000])
async def test_lags_as_parquet(filled: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed; the same however many rows are fetched at a time."""
    monkeypatch.setattr(export, "BATCH_ROWS", size)
    read = pq.read_table(io.BytesIO(await exported(filled, "lags", "parquet")))
    found = read.to_pylist()
    assert read.column_names == list(EXPORTS["lags"].columns)
    assert [(each["market"], each["window"]) for each in found] == [
        ('a, "quoted"', TEN),
        ("b", TEN),
        ("b", ELEVEN),
    ]
    assert [each["signal_delta"] for each in found] == [1.5, None, None]
    assert [each["lag_flag"] for each in found] == [True, False, False]
    types = [str(read.schema.field(name).type) for name in ("window", "price", "mention_count")]
    assert types == ["timestamp[ms, tz=UTC]", "double", "int32"]


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (Selection(), 3),
        (Selection(since=ELEVEN), 1),
        (Selection(until=ELEVEN), 2),
        (Selection(since=TEN, until=ELEVEN, markets=["b"]), 1),
        (Selection(markets=["b", "m"]), 2),
        (Selection(markets=["none"]), 0),
    ],
)
async def test_rows_can_be_chosen(filled: str, chosen: Selection, count: int) -> None:
    """By windows from and to, and by markets."""
    lines = (await exported(filled, "lags", "csv", chosen)).splitlines()
    assert len(lines) == 1 + count


async def test_an_export_is_of_one_moment(filled: str) -> None:
    """What is written meanwhile is not in it, nor in its count."""
    writing = Database(filled)
    async with (
        connected(filled) as connection,
        rows_of(connection, EXPORTS["lags"], Selection()) as rows,
    ):
        await lag_history(writing).upsert([row("z")])
        found: list[Any] = [each async for batch in rows.batches for each in batch]
    await writing.close()
    assert len(found) == rows.total == 3
    assert len((await exported(filled, "lags", "csv")).splitlines()) == 5


async def test_numbers_are_written_to_the_bit(database: str) -> None:
    """The shortest text that reads as the same number."""
    connection = Database(database)
    await lag_history(connection).upsert([row(rss_signal=0.1 + 0.2, keyword_score=5e-324)])
    await connection.close()
    header, line = (await exported(database, "lags", "csv")).decode().splitlines()
    found = dict(zip(header.split(","), line.split(","), strict=True))
    assert (found["rss_signal"], found["keyword_score"]) == ("0.30000000000000004", "5e-324")
