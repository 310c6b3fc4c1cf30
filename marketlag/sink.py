"""Batches rows on their way to Postgres. A row's offset is declared when the row is written."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import msgspec
from mode import get_logger

from marketlag.engine.chunk import Chunk
from marketlag.errors import DatabaseError
from marketlag.records import UNDECODABLE, LogRecord, Refused, refused, undecodable

logger = get_logger(__name__)

#: This many batches may wait for Postgres; further chunks stay in Kafka.
MAX_BATCHES_WAITING = 10

Row = TypeVar("Row", bound=msgspec.Struct)
Write = Callable[[list[Row]], Awaitable[list[tuple[Row, str]]]]
Refuse = Callable[[Chunk, list[Refused]], Awaitable[None]]


class Item(NamedTuple, Generic[Row]):
    """A record of the sink's topic; ``row`` is ``None`` for one that was refused already."""

    chunk: Chunk
    record: LogRecord
    row: Row | None


class Sink(Generic[Row]):
    """Takes rows, writes them in batches: when one is full, after ``max_wait`` s, or on release.

    Args:
        row: the class of a row, which a record's value is decoded to.
        write: writes rows and returns the refused ones with reasons; waits out what can pass.
        refuse: sends refused records to the DLQ.
    """

    def __init__(
        self, row: type[Row], write: Write[Row], refuse: Refuse, *, max_rows: int, max_wait: float
    ) -> None:
        self._decode = msgspec.json.Decoder(row).decode
        self._write = write
        self._refuse = refuse
        self._max_rows = max_rows
        self._max_wait = max_wait
        self._waiting: deque[Item[Row]] = deque()
        self._since = 0.0
        self._newest_term = 0
        self._released_term = -1
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._waiting)

    async def take(self, chunk: Chunk) -> None:
        """Queue the rows of a chunk; what does not decode is refused."""
        await self.add([await self._to_item(chunk, record) for record in chunk.records])

    async def _to_item(self, chunk: Chunk, record: LogRecord) -> Item[Row]:
        try:
            return Item(chunk, record, self._decode(record.value or b""))
        except UNDECODABLE as exc:
            await self._refuse(chunk, [refused(record, undecodable(exc))])
            return Item(chunk, record, None)

    async def add(self, items: list[Item[Row]]) -> None:
        """Take items in order of their offsets; waits while Postgres is far behind.

        Items of partitions that have been released are not taken.
        """
        for item in items:
            term = item.chunk.lease.term
            self._newest_term = max(self._newest_term, term)
            async with self._changed:
                await self._changed.wait_for(partial(self._may_add, term))
                if term <= self._released_term:
                    return
                if not self._waiting:
                    self._since = time.monotonic()
                self._waiting.append(item)
                self._changed.notify_all()

    def _may_add(self, term: int) -> bool:
        has_room = len(self._waiting) < self._max_rows * MAX_BATCHES_WAITING
        return has_room or term <= self._released_term

    async def run(self) -> None:
        """Write batches as they fall due, for ever."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting))
                due = self._since + self._max_wait - time.monotonic()
                try:
                    async with asyncio.timeout(max(0.0, due)):
                        await self._changed.wait_for(self._is_full)
                except TimeoutError:
                    pass
            await self._write_batch()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._max_rows

    async def release(self, timeout: float = 5.0) -> None:
        """Write what is waiting, since its partitions are being given back.

        What cannot be written in time is forgotten: its offsets were not declared, so the next
        owner reads it again.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._waiting:
                    await self._write_batch()
        except (TimeoutError, DatabaseError) as exc:
            logger.warning(
                "%s rows stay in Kafka, Postgres did not take them: %r", len(self._waiting), exc
            )
        self._waiting.clear()
        self._released_term = self._newest_term
        async with self._changed:
            self._changed.notify_all()

    async def _write_batch(self) -> None:
        async with self._writing:
            # A batch stays in the queue until it is written: were it gone, the next one would be
            # declared past it.
            batch = list(islice(self._waiting, self._max_rows))
            if not batch:
                return
            turned_down = await self._write([item.row for item in batch if item.row is not None])
            for row, reason in turned_down:
                for item in batch:
                    if item.row == row:
                        await self._refuse(item.chunk, [Refused(item.record, reason, "postgres")])
            async with self._changed:
                for item in batch:
                    item.chunk.lease.advance(item.record.offset + 1)
                    if self._waiting and self._waiting[0] is item:  # not released meanwhile
                        self._waiting.popleft()
                self._since = time.monotonic()
                self._changed.notify_all()
