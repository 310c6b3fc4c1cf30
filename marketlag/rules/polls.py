"""Heartbeats: how far event time has come, from what the producers polled.

The clock of a log is the least over its sources: a feed's newest poll that it answered began at
that time, and everything it had published before is acknowledged. A source without an answer for
too long is *idle*: it is left out, so that one dead feed does not stop all markets. How long is
told by its own polls: after a pause the first feed to answer must not pass for the only one.

The log of polls is the state: the recovery point is the newest poll of the source that was polled
longest ago.
"""

from collections.abc import Iterable, Mapping

import msgspec

from marketlag.event_time import BEGINNING, HOUR, MINUTE, parse_ms
from marketlag.records import UNDECODABLE, LogRecord, Poll

#: Prices are told once an hour, whatever comes of it.
PRICES_IDLE_AFTER_MS = 2 * HOUR + 10 * MINUTE
#: Polls of others after which a source that nobody polls is not waited for.
MISSED_ROUNDS = 3


class _Source(msgspec.Struct, frozen=True):
    answered_at: int | None
    is_idle: bool
    round: int
    offset: int


class Beat(msgspec.Struct, frozen=True):
    """What a kind of source has to say after a batch.

    Attributes:
        time: the clock, if it has moved (ms).
        idle, back: sources that fell idle or answer again.
    """

    kind: str
    time: int | None
    idle: list[str]
    back: list[str]


class Clock:
    """The clock of one kind of source.

    Args:
        sources: those that there are; polls of others are passed over.
        idle_after: ms without an answer.
    """

    def __init__(self, kind: str, sources: Iterable[str], idle_after: int) -> None:
        self._kind = kind
        self._idle_after = idle_after
        self._wanted = frozenset(sources)
        self._sources: dict[str, _Source] = {}
        self._idle: set[str] = set()
        #: A round ends when a source is polled that was polled in it before.
        self._round = 0
        self._told = BEGINNING

    def take(self, poll: Poll, offset: int) -> None:
        if poll.kind != self._kind or poll.source not in self._wanted:
            return
        waited = parse_ms(poll.polled_at) - parse_ms(poll.waiting_since)
        answered_at = None if poll.answered_at is None else parse_ms(poll.answered_at)
        before = self._sources.get(poll.source)
        if before is not None and before.round == self._round:
            self._round += 1
        self._sources[poll.source] = _Source(
            answered_at, waited > self._idle_after, self._round, offset
        )

    def beat(self) -> Beat | None:
        """What there is to say; ``None`` before the first poll."""
        if not self._sources:
            return None
        idle = {name for name in self._wanted if self._is_idle(name)}
        fell, back = sorted(idle - self._idle), sorted(self._idle - idle)
        self._idle = idle
        return Beat(self._kind, self._tick(self._wanted - idle), fell, back)

    def _is_idle(self, name: str) -> bool:
        """No answer for too long; or not even polled while the others were, again and again."""
        held = self._sources.get(name)
        if held is None:
            return self._round >= MISSED_ROUNDS
        return held.is_idle or self._round - held.round > MISSED_ROUNDS

    def _tick(self, awake: frozenset[str]) -> int | None:
        times = [self._sources[name].answered_at for name in awake if name in self._sources]
        known = [time for time in times if time is not None]
        # One that has never answered has published nothing that could be counted on.
        if not known or len(known) < len(awake) or min(known) <= self._told:
            return None
        self._told = min(known)
        return self._told

    @property
    def idle_count(self) -> int:
        """How many sources time goes on without."""
        return len(self._idle)

    def answered(self) -> dict[str, int]:
        """When each source last answered (ms), of those that ever did."""
        return {
            name: held.answered_at
            for name, held in list(self._sources.items())
            if held.answered_at is not None
        }

    def held_back(self) -> int | None:
        """The offset of the oldest among the newest polls of sources that are not idle."""
        offsets = [held.offset for name, held in self._sources.items() if name not in self._idle]
        return min(offsets, default=None)


class Polls:
    """All clocks of one partition of ``producers.polls``."""

    def __init__(self, sources: Mapping[str, Iterable[str]], idle_after: Mapping[str, int]) -> None:
        self._clocks = {kind: Clock(kind, sources[kind], idle_after[kind]) for kind in sources}

    def answered(self, kind: str) -> dict[str, int]:
        """See ``Clock.answered``."""
        return self._clocks[kind].answered()

    def idle_counts(self) -> dict[str, int]:
        """By kind, how many sources time goes on without."""
        return {kind: clock.idle_count for kind, clock in self._clocks.items()}

    def recovery_offset(self, end: int) -> int:
        offsets = [clock.held_back() for clock in self._clocks.values()]
        return min((offset for offset in offsets if offset is not None), default=end)

    def fold(self, records: Iterable[LogRecord]) -> list[Beat]:
        """Take a batch in. What cannot be read is passed over: only producers write here."""
        for record in records:
            try:
                poll = _decode(record.value or b"")
                for clock in self._clocks.values():
                    clock.take(poll, record.offset)
            except (*UNDECODABLE, ValueError):
                continue
        return [beat for clock in self._clocks.values() if (beat := clock.beat()) is not None]


_decode = msgspec.json.Decoder(Poll).decode
