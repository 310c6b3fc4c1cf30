"""A chunk: the records of one partition that one fetch brought, as one Faust event."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import faust
from faust.types import AppT, EventT, Message

from marketlag.engine.fetch import Packed
from marketlag.engine.positions import Lease
from marketlag.records import LogRecord

State = TypeVar("State")


class Desk(Protocol):
    """Whoever has to know which chunks are being worked on: the consumer."""

    def begin_work(self, chunk: "Chunk") -> None: ...
    def end_work(self, chunk: "Chunk") -> None: ...


class Chunk:
    """Consecutive records of one partition; ``with chunk:`` is the time of working on it.

    A rebalance waits for that time to end, and fetching goes on after it. Faust's own
    acknowledgement is of no use here: its Cython stream never calls the consumer for it.

    Attributes:
        start: the offset at which the chunk before it ended.
        end: the offset after the last record.
        after_gap: records right before this chunk were deleted unread.
        lease: the right under which it is processed.
    """

    __slots__ = ("_desk", "_packed", "_records", "after_gap", "end", "lease", "start")

    def __init__(
        self,
        lease: Lease,
        records: Sequence[LogRecord] | Packed,
        *,
        start: int | None = None,
        after_gap: bool = False,
        desk: Desk | None = None,
    ) -> None:
        self.lease = lease
        if isinstance(records, Packed):
            self._packed: Packed | None = records
            self._records: Sequence[LogRecord] = ()
            first, self.end = records.first, records.end
        else:
            self._packed, self._records = None, records
            first = records[0].offset if records else lease.offset
            self.end = records[-1].offset + 1 if records else first
        self.start = first if start is None else start
        self.after_gap = after_gap
        self._desk = desk

    def __enter__(self) -> Self:
        if self._desk is not None:
            self._desk.begin_work(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._desk is not None:
            self._desk.end_work(self)
        # Faust holds on to its event until the next one comes.
        self._records = ()

    @property
    def topic(self) -> str:
        return str(self.lease.tp.topic)

    @property
    def partition(self) -> int:
        return int(self.lease.tp.partition)

    @property
    def count(self) -> int:
        """How many records there are; 0 before they are unpacked, and after the work."""
        return len(self._records)

    @property
    def records(self) -> Sequence[LogRecord]:
        """With offset, timestamp (ms), key, value and headers each; unpacked when first asked for.

        Raises ``CorruptRecordException``.
        """
        if self._packed is not None:
            self._records, self._packed = self._packed.unpack(), None
            if self._records:
                self.lease.open_chunks.append((self.end, self._records[0].timestamp))
        return self._records


def where(chunk: Chunk, offset: int) -> dict[str, dict[str, str | int]]:
    """``extra`` of a line of the log: what it is about."""
    return {"data": {"topic": chunk.topic, "partition": chunk.partition, "offset": offset}}


class ChunkSchema(faust.Schema[Any, Any]):
    """Hands the chunk to the agent as it is: decoding belongs to the job, once per record."""

    def compile(self, app: AppT, **kwargs: Any) -> Any:
        async def decode(message: Message, **_: Any) -> EventT[Any]:
            return app.create_event(None, message.value, message.headers, message)

        return decode


class ChunkStream(faust.Stream[Chunk]):
    """A stream that acknowledges nothing: the agents declare what is done, through the lease."""

    def __init__(self, *args: Any, enable_acks: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, enable_acks=False, **kwargs)


class PerPartition(Generic[State]):
    """An agent's state, one per partition number, opened anew whenever partitions are assigned.

    Topics that are joined share the partition number, and so the state.
    """

    def __init__(self, open_state: Callable[[Chunk], State]) -> None:
        self._open = open_state
        self._term = -1
        self._states: dict[int, State] = {}

    def held(self, term: int) -> list[tuple[int, State]]:
        """The states by partition, if they are of this *term* and not of one that is over."""
        return list(self._states.items()) if term == self._term else []

    def __getitem__(self, chunk: Chunk) -> State:
        if chunk.lease.term != self._term:
            self._states.clear()
            self._term = chunk.lease.term
        if chunk.partition not in self._states:
            self._states[chunk.partition] = self._open(chunk)
        return self._states[chunk.partition]
