"""Batches, and which offsets may be committed when."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest
from faust.types import TP

from marketlag.engine.chunk import Chunk
from marketlag.engine.positions import Lease, Point
from marketlag.errors import DatabaseError
from marketlag.history import newest
from marketlag.postgres import Fault, fault_of
from marketlag.records import LagRow, Refused
from marketlag.sink import MAX_BATCHES_WAITING, Item, Sink
from tests.support.logs import Record


def row(market: str = "m", window: str = "w", version: int = 1) -> LagRow:
    return LagRow(
        market=market,
        window=window,
        outcome="YES",
        signal_delta=None,
        price_delta=0.0,
        lag_flag=False,
        confidence=0.5,
        rss_signal=1.0,
        prev_rss_signal=None,
        max_signal_delta=0.0,
        signal_zscore=None,
        price=None,
        prev_price=None,
        stale=None,
        mention_count=1,
        keyword_score=1.0,
        source_weight_avg=1.0,
        detected_at="2025-01-01T00:00:00Z",
        version=(version, 0, 0, 0),
    )


class Database:
    """Takes rows while it is up; refuses those of the market "bad"."""

    def __init__(self) -> None:
        self.up = asyncio.Event()
        self.up.set()
        self.batches: list[list[str]] = []

    async def write(self, rows: list[LagRow]) -> list[tuple[LagRow, str]]:
        await self.up.wait()
        self.batches.append([each.market for each in rows])
        return [(each, "23514 no") for each in rows if each.market == "bad"]


def items(chunk: Chunk, *markets: str | None, start: int = 0) -> list[Item[LagRow]]:
    return [
        Item(chunk, Record(start + index, b""), row(name) if name else None)
        for index, name in enumerate(markets)
    ]


def new_chunk() -> Chunk:
    return Chunk(Lease(TP("lag_signals", 0), 1, 0), [])


async def nothing_refused(chunk: Chunk, refused: list[Refused]) -> None:
    raise AssertionError(refused)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@pytest.fixture
async def database() -> Database:
    return Database()


async def test_a_full_batch_is_written_at_once(database: Database) -> None:
    """The rest waits; only what is written is declared."""
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=2, max_wait=3600)
    running = asyncio.ensure_future(sink.run())
    chunk = new_chunk()
    await sink.add(items(chunk, "a", "b", "c"))
    await until(lambda: chunk.lease.declared is not None)
    assert database.batches == [["a", "b"]]
    assert chunk.lease.declared == Point(2)
    running.cancel()


async def test_a_row_does_not_wait_longer_than_it_may(database: Database) -> None:
    """For the batch to fill."""
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=100, max_wait=0.01)
    running = asyncio.ensure_future(sink.run())
    chunk = new_chunk()
    await sink.add(items(chunk, "a"))
    async with asyncio.timeout(30):
        await until(lambda: chunk.lease.declared == Point(1))
    running.cancel()


async def test_release_writes_what_waits(database: Database) -> None:
    """As when partitions are revoked or the worker stops; refused records count as done."""
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=100, max_wait=3600)
    chunk = new_chunk()
    await sink.add(items(chunk, "a", None))
    await sink.release()
    assert database.batches == [["a"]]
    assert chunk.lease.declared == Point(2)


async def test_release_does_not_wait_for_a_postgres_that_is_away(database: Database) -> None:
    """Nothing is declared; the next owner reads the rows again."""
    database.up.clear()
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=100, max_wait=3600)
    chunk = new_chunk()
    await sink.add(items(chunk, "a"))
    await sink.release(timeout=0.01)
    assert chunk.lease.declared is None
    database.up.set()
    await sink.release()
    assert database.batches == []


async def test_a_batch_that_failed_is_not_committed_past(database: Database) -> None:
    """Not by the release that follows the crash either: its rows would be gone."""
    broken = True

    async def write(rows: list[LagRow]) -> list[tuple[LagRow, str]]:
        if broken:
            raise DatabaseError("for good")
        return await database.write(rows)

    sink = Sink(LagRow, write, nothing_refused, max_rows=2, max_wait=0)
    chunk = new_chunk()
    await sink.add(items(chunk, *"abcdef"))
    with pytest.raises(DatabaseError):
        await sink.run()
    broken = False
    await sink.release()
    assert [name for batch in database.batches for name in batch] == list("abcdef")
    assert chunk.lease.declared == Point(6)


async def test_release_frees_an_agent_that_waits_for_room(database: Database) -> None:
    """Or neither a rebalance nor SIGTERM would get past a Postgres that is away."""
    database.up.clear()
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=1, max_wait=0)
    running = asyncio.ensure_future(sink.run())
    old, new = new_chunk(), new_chunk()
    new.lease.term = 1
    adding = asyncio.ensure_future(sink.add(items(old, *"abcdefghijklmnopqrstuvwxyz")))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert not adding.done()
    await sink.release(timeout=0.01)
    await adding
    assert old.lease.declared is None
    database.up.set()
    await sink.add(items(new, "z"))
    await until(lambda: new.lease.declared == Point(1))
    assert database.batches[-1] == ["z"]
    running.cancel()


async def test_memory_is_bounded_while_postgres_is_away(database: Database) -> None:
    """Further chunks stay in Kafka: add waits until there is room."""
    database.up.clear()
    sink = Sink(LagRow, database.write, nothing_refused, max_rows=2, max_wait=0)
    running = asyncio.ensure_future(sink.run())
    chunk = new_chunk()
    many = [str(number) for number in range(100)]
    adding = asyncio.ensure_future(sink.add(items(chunk, *many)))
    for _ in range(1000):
        await asyncio.sleep(0)
    assert len(sink._waiting) <= 2 * MAX_BATCHES_WAITING
    assert not adding.done()
    database.up.set()
    await adding
    await until(lambda: chunk.lease.declared == Point(100))
    assert sum(len(batch) for batch in database.batches) == 100
    running.cancel()


async def test_a_row_that_is_refused_for_itself_goes_to_the_dlq(database: Database) -> None:
    """With its record; the offsets go on."""
    refused: list[Refused] = []

    async def refuse(chunk: Chunk, records: list[Refused]) -> None:
        refused.extend(records)

    sink = Sink(LagRow, database.write, refuse, max_rows=3, max_wait=3600)
    chunk = new_chunk()
    await sink.add(items(chunk, "a", "bad", "c"))
    await sink.release()
    assert [(each.record.offset, each.reason) for each in refused] == [(1, "23514 no")]
    assert chunk.lease.declared == Point(3)


def test_a_statement_has_one_version_of_a_key_and_keys_in_order() -> None:
    """So that two workers cannot lock each other out."""
    rows = [row("b", "1", 2), row("a", "2"), row("b", "1", 3), row("b", "1", 1), row("a", "1")]
    assert [(r.market, r.window, r.version[0]) for r in newest(rows)] == [
        ("a", "1", 1),
        ("a", "2", 1),
        ("b", "1", 3),
    ]


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        ("08006", Fault.PASSING),
        ("40001", Fault.PASSING),
        ("40P01", Fault.PASSING),
        ("53300", Fault.PASSING),
        ("57P03", Fault.PASSING),
        ("55P03", Fault.PASSING),
        ("25006", Fault.PASSING),
        ("22003", Fault.ROW),
        ("22P05", Fault.ROW),
        ("23514", Fault.ROW),
        ("54000", Fault.ROW),
        ("42P01", Fault.LASTING),
        ("28P01", Fault.LASTING),
        (None, Fault.LASTING),
    ],
)
def test_what_can_pass_is_retried_and_nothing_else(state: str | None, fault: Fault) -> None:
    """By SQLSTATE; a connection that cannot be made has none, and passes."""
    error = ValueError()
    setattr(error, "sqlstate", state)  # noqa: B010 - asyncpg's attribute on an error of our own
    assert fault_of(error) is fault
    assert fault_of(ConnectionRefusedError()) is Fault.PASSING
    assert fault_of(TimeoutError()) is Fault.PASSING


def test_a_lag_row_on_the_wire_reads_back() -> None:
    """Job 3 writes what the sink reads."""
    assert msgspec.json.decode(msgspec.json.encode(row()), type=LagRow) == row()
