"""Rows of Postgres to a file, streamed: from one snapshot, in order of time, however many."""

import csv
import functools
import io
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, BinaryIO, NamedTuple, Protocol

import asyncpg
import msgspec

from marketlag.errors import InputError
from marketlag.event_time import format_ms, from_datetime

#: Rows fetched and written at a time; a row group of Parquet.
BATCH_ROWS = 20_000

FORMATS = ("csv", "jsonl", "parquet")

Row = Sequence[Any]


class Export(NamedTuple):
    """A table to export: the column of its time, and its columns with their types."""

    table: str
    time: str
    columns: Mapping[str, type]


EXPORTS: Mapping[str, Export] = {
    "lags": Export(
        "lag_signals_history",
        "window",
        {
            "market": str,
            "window": datetime,
            "outcome": str,
            "signal_delta": float,
            "price_delta": float,
            "lag_flag": bool,
            "confidence": float,
            "rss_signal": float,
            "prev_rss_signal": float,
            "max_signal_delta": float,
            "signal_zscore": float,
            "price": float,
            "prev_price": float,
            "stale": bool,
            "mention_count": int,
            "keyword_score": float,
            "source_weight_avg": float,
            "detected_at": datetime,
        },
    ),
    "signals": Export(
        "rss_signals_hourly",
        "window",
        {
            "market": str,
            "window": datetime,
            "mention_count": int,
            "keyword_score": float,
            "source_weighted_signal": float,
            "source_weight_avg": float,
        },
    ),
    "prices": Export(
        "price_hourly",
        "hour",
        {
            "market": str,
            "outcome": str,
            "hour": datetime,
            "price": float,
            "prev_price": float,
            "price_delta": float,
            "stale": bool,
            "fetched_at": datetime,
        },
    ),
}


class Selection(NamedTuple):
    """Which rows: of windows in ``[since, until)``, of some markets or of all."""

    since: datetime | None = None
    until: datetime | None = None
    markets: Sequence[str] = ()


class Rows(NamedTuple):
    """So many rows, in batches."""

    total: int
    batches: AsyncIterator[list[Row]]


@asynccontextmanager
async def rows_of(
    connection: asyncpg.Connection, export: Export, chosen: Selection
) -> AsyncIterator[Rows]:
    """The chosen rows as they are at one moment, in order of time and market."""
    # Names of ours; what the user gives is in the arguments.
    where = f"""
        FROM {export.table}
        WHERE ($1::timestamptz IS NULL OR "{export.time}" >= $1)
          AND ($2::timestamptz IS NULL OR "{export.time}" < $2)
          AND ($3::text[] IS NULL OR market = ANY($3))
    """
    order = [export.time, "market", *(["outcome"] if "outcome" in export.columns else [])]
    select = f"""
        SELECT {", ".join(f'"{name}"' for name in export.columns)} {where}
        ORDER BY {", ".join(f'"{name}"' for name in order)}
    """
    arguments = chosen.since, chosen.until, list(chosen.markets) or None
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        count = int(await connection.fetchval(f"SELECT count(*) {where}", *arguments))
        yield Rows(count, _batches(await connection.cursor(select, *arguments)))


async def _batches(cursor: Any) -> AsyncIterator[list[Row]]:
    while batch := await cursor.fetch(BATCH_ROWS):
        yield batch


class Writer(Protocol):
    """Writes rows in one format."""

    def write(self, rows: Sequence[Row]) -> None: ...
    def close(self) -> None: ...


def new_writer(kind: str, export: Export, out: BinaryIO) -> Writer:
    """A writer of *kind*, one of ``FORMATS``. Raises ``InputError`` where a package is missing."""
    writers: dict[str, Callable[[Mapping[str, type], BinaryIO], Writer]] = {
        "csv": CsvWriter,
        "jsonl": JsonLinesWriter,
        "parquet": ParquetWriter,
    }
    return writers[kind](export.columns, out)


@functools.lru_cache(maxsize=10_000)
def _iso(moment: datetime) -> str:
    return format_ms(from_datetime(moment))


class CsvWriter:
    """A header, then rows: times in UTC with ``Z``, true and false, nothing for null."""

    def __init__(self, columns: Mapping[str, type], out: BinaryIO) -> None:
        self._out = io.TextIOWrapper(out, encoding="utf-8", newline="")
        self._writer = csv.writer(self._out, lineterminator="\n")
        self._writer.writerow(columns)

    def write(self, rows: Sequence[Row]) -> None:
        self._writer.writerows([_csv_value(value) for value in row] for row in rows)

    def close(self) -> None:
        self._out.flush()
        self._out.detach()


def _csv_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return _iso(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class JsonLinesWriter:
    """An object a line, with null where there is nothing."""

    def __init__(self, columns: Mapping[str, type], out: BinaryIO) -> None:
        self._out = out
        self._names = list(columns)
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: Sequence[Row]) -> None:
        self._out.write(self._encoder.encode_lines([self._object(row) for row in rows]))

    def _object(self, row: Row) -> dict[str, Any]:
        return {
            name: _iso(value) if isinstance(value, datetime) else value
            for name, value in zip(self._names, row, strict=True)
        }

    def close(self) -> None:
        self._out.flush()


class ParquetWriter:
    """Typed columns, times in milliseconds of UTC, a row group a batch."""

    def __init__(self, columns: Mapping[str, type], out: BinaryIO) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:
            raise InputError(
                "Parquet needs a further package: pip install 'marketlag[parquet]'"
            ) from None
        types = {
            str: pa.string(),
            float: pa.float64(),
            bool: pa.bool_(),
            int: pa.int32(),
            datetime: pa.timestamp("ms", tz="UTC"),
        }
        self._to_table = pa.Table.from_pylist
        self._schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
        self._writer = pq.ParquetWriter(out, self._schema)

    def write(self, rows: Sequence[Row]) -> None:
        names = self._schema.names
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        self._writer.write_table(self._to_table(objects, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
