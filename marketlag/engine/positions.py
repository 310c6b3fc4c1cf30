"""Who has read how far, and what may be committed. Decides; does no input or output.

A *lease* is the right to process one partition in one generation of the consumer group. It starts
at the committed offset. Chunks must follow each other without a hole; the agent says through the
lease how far the partition is recoverable, and only that is ever committed.
"""

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from faust.types import TP

#: A hole in a log is believed when it was seen so often. Twice has happened by accident: two chunks
#: lost on their way from the same place, one after the other.
SIGHTINGS = 3


class Point(NamedTuple):
    """What a commit holds for one partition."""

    offset: int
    metadata: str = ""


@dataclass(eq=False)
class Lease:
    """One partition in one generation of the group.

    Attributes:
        offset: where reading starts.
        metadata: what was committed with that offset; empty at the beginning of the log.
        truncated: the log's start was cut off behind what was committed, or behind offset 0.
    """

    tp: TP
    generation: int
    offset: int
    metadata: str = ""
    truncated: bool = False
    #: Counts the times that this process was given partitions. Unlike the generation it never
    #: repeats, not even when the group is made anew.
    term: int = field(default=0, init=False)
    #: Everything before this offset was handed to the agent.
    handed_over: int = field(default=-1, init=False)
    #: The newest point that the agent declared.
    declared: Point | None = field(default=None, init=False)
    #: Everything before this offset is worked through; a restart may have to begin further back.
    done: int = field(default=-1, init=False)
    #: End and timestamp (ms) of the first record of each chunk that is not worked through.
    open_chunks: deque[tuple[int, int]] = field(default_factory=deque, init=False)

    def advance(self, offset: int, metadata: str = "", *, done: int | None = None) -> None:
        """Declare that a restart from here loses nothing. Call after the outputs were handed over.

        *done* is the offset before which everything is worked through, if that is another one.
        Without effect once the partition was given away.
        """
        self.declared = Point(offset, metadata)
        self.done = offset if done is None else done
        while self.open_chunks and self.open_chunks[0][0] <= self.done:
            self.open_chunks.popleft()


class Gap(NamedTuple):
    """Offsets from *expected* up to *first* that fetches did not bring, and how often."""

    expected: int
    first: int
    seen: int


class Verdict(enum.Enum):
    """What to do with a fetched chunk."""

    DELIVER = enum.auto()
    #: Deliver it, but records before it are gone for good (retention) or never were (compaction).
    DELIVER_AFTER_GAP = enum.auto()
    #: It belongs to another generation.
    DROP = enum.auto()
    #: It does not start where the last one ended: drop it and fetch again from there.
    SEEK_BACK = enum.auto()


class Positions:
    """The leases of the present generation, and the next offset of each."""

    def __init__(self) -> None:
        self.generation = -1
        self._term = 0
        self._leases: dict[TP, Lease] = {}
        self._next: dict[TP, int] = {}
        self._gaps: dict[TP, Gap] = {}
        self._committed: dict[TP, Point] = {}

    def open(self, generation: int, leases: list[Lease]) -> None:
        """Begin a generation. What was declared for an older one is forgotten."""
        self.close()
        self.generation = generation
        self._term += 1
        for lease in leases:
            lease.term = self._term
            lease.handed_over = lease.done = lease.offset
            self._leases[lease.tp] = lease
            self._next[lease.tp] = lease.offset
            self._committed[lease.tp] = Point(lease.offset, lease.metadata)

    def close(self) -> None:
        """End the generation: nothing is accepted and nothing committed until the next one."""
        self.generation = -1
        for table in (self._leases, self._next, self._gaps, self._committed):
            table.clear()

    @property
    def term(self) -> int:
        """See ``Lease.term``; that of the leases held now."""
        return self._term

    @property
    def leases(self) -> list[Lease]:
        return list(self._leases.values())

    def lease(self, tp: TP) -> Lease:
        return self._leases[tp]

    def held(self, topic: str) -> list[Lease]:
        """The leases of a topic's partitions."""
        return [lease for tp, lease in self._leases.items() if tp.topic == topic]

    def next_offset(self, tp: TP) -> int:
        """Where the next chunk has to start; -1 for a partition that is not held."""
        return self._next.get(tp, -1)

    def on_their_way(self) -> dict[TP, int]:
        """Partitions with a chunk that was delivered and has not reached its agent, and since
        which offset.
        """
        return {
            tp: lease.handed_over
            for tp, lease in self._leases.items()
            if lease.handed_over < self._next[tp]
        }

    def judge(self, tp: TP, generation: int, first: int, last: int) -> Verdict:
        """Whether the chunk of offsets *first* to *last* may be delivered; if so, it counts.

        Offsets can be missing from a log for good: compaction, transaction markers, retention. So a
        hole is believed when fetching again from its beginning keeps showing the same one.
        """
        if generation != self.generation or tp not in self._leases:
            return Verdict.DROP
        expected = self._next[tp]
        if first < expected or (first > expected and not self._is_lasting(tp, expected, first)):
            return Verdict.SEEK_BACK
        self._gaps.pop(tp, None)
        self._next[tp] = last + 1
        return Verdict.DELIVER if first == expected else Verdict.DELIVER_AFTER_GAP

    def _is_lasting(self, tp: TP, expected: int, first: int) -> bool:
        gap = self._gaps.get(tp)
        seen = gap.seen + 1 if gap is not None and gap[:2] == (expected, first) else 1
        self._gaps[tp] = Gap(expected, first, seen)
        return seen >= SIGHTINGS

    def committable(self) -> dict[TP, Point]:
        """What was declared since the last commit."""
        return {
            tp: lease.declared
            for tp, lease in self._leases.items()
            if lease.declared is not None and lease.declared != self._committed[tp]
        }

    def mark_committed(self, generation: int, points: dict[TP, Point]) -> None:
        if generation == self.generation:
            self._committed.update(points)

    def committed(self, tp: TP) -> Point | None:
        """What the group has for a partition that this worker holds."""
        return self._committed.get(tp)
