"""What a DLQ holds: refused records, and what became of them. Does no input or output.

A refused record has the headers ``error`` and its coordinates, or ``source`` where a producer
refused it. Publishing it again is noted beside it, in the same partition, so that retention never
takes the note before the record:

- ``claimed``, before: by which run, and the end of the log to which it will be published;
- ``replayed``, after Kafka has it.

A run that died in between has left a claim. Whether the record was published then, the log since
that end tells (``replayed-from``). A record is known by its coordinates and its timestamp: a topic
that is made anew has the same offsets again.
"""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple, Self

import msgspec

from marketlag.records import LogRecord
from marketlag.topics import dlq

#: Header of a record that was published again: the identity of the one that was refused.
REPLAYED_FROM: Final = "replayed-from"
#: Headers of a note in a DLQ: ``claimed`` or ``replayed``, and the identity of the record.
NOTE: Final = "replay"
OF: Final = "of"
CLAIMED, REPLAYED = "claimed", "replayed"
#: Headers of a claim: the run's name, and the end of the log that it will publish to.
RUN, END = "run", "end"

#: A claim is a run's alone for so long (ms); after that the run counts as dead.
CLAIM_MS = 2 * 60_000

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(\.\d+)?(?![\w])")
_SQLSTATE = re.compile(r"[0-9A-Z]{5} ")


class Coordinates(NamedTuple):
    """A record's place; as a text ``topic/partition/offset``."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return "/".join(map(str, self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """The reverse of ``str``. Raises ``ValueError``."""
        topic, partition, offset = text.rsplit("/", 2)
        return cls(topic, int(partition), int(offset))


class Claim(NamedTuple):
    """A run is about to publish a record again, since *at* (ms), to a log that ended at *end*."""

    run: str
    at: int
    end: int


class Item(msgspec.Struct):
    """A refused record.

    Attributes:
        name: what to call it: where it was refused, or else its own place in the DLQ.
        place: where it stands in the DLQ.
        identity: by which notes and the log know it.
        reason: why it was refused.
        source: the feed or market of a producer's refusal.
        timestamp: when it had arrived (ms).
        cut_from: its true size, where it was too large for the DLQ.
        claims: of runs that wanted to publish it again.
        is_replayed: it was published again.
    """

    name: Coordinates
    place: Coordinates
    identity: str
    reason: str
    source: str | None
    timestamp: int
    cut_from: int | None = None
    claims: list[Claim] = msgspec.field(default_factory=list)
    is_replayed: bool = False

    @property
    def why_not(self) -> str | None:
        """Why it can't be published again, if so."""
        if self.source is not None:
            return "a producer refused it: it never was a record, and is asked for again"
        if self.cut_from is not None:
            return f"only the beginning of its {self.cut_from} bytes was kept"
        return None

    def claim_at(self, now: int) -> Claim | None:
        """The claim that holds at *now* (ms): the first of those that are young enough."""
        return next((claim for claim in self.claims if claim.at > now - CLAIM_MS), None)


class Ledger:
    """The items of one DLQ's partition, by name, in order."""

    def __init__(self, topic: str, partition: int) -> None:
        self.topic = topic
        self.partition = partition
        self.items: dict[Coordinates, Item] = {}
        #: The offset after the last record folded.
        self.end = 0
        self._known: dict[str, Item] = {}

    def fold(self, records: Iterable[LogRecord]) -> None:
        """Take records of ``dlq.<topic>``, in order. A record that a crash wrote twice is one."""
        for record in records:
            self.end = record.offset + 1
            headers = {name: value.decode(errors="replace") for name, value in record.headers}
            if NOTE in headers:
                self._take_note(headers, record)
            else:
                self._take_item(headers, record)

    def _take_item(self, headers: dict[str, str], record: LogRecord) -> None:
        place = Coordinates(dlq(self.topic), self.partition, record.offset)
        refused_at = _coordinates(headers)
        identity = f"{refused_at or place}@{record.timestamp}"
        if identity in self._known:
            return
        cut_from = headers.get("truncated-from")
        item = self._known[identity] = Item(
            # Where a topic was made anew, two records may have been refused in one place.
            place if refused_at is None or refused_at in self.items else refused_at,
            place,
            identity,
            headers.get("error", "no reason given"),
            None if refused_at else headers.get("source", ""),
            record.timestamp,
            None if cut_from is None else int(cut_from),
        )
        self.items[item.name] = item

    def _take_note(self, headers: dict[str, str], record: LogRecord) -> None:
        item = self._known.get(headers[OF])
        if item is None:
            return  # retention has taken the record
        if headers[NOTE] == REPLAYED:
            item.is_replayed = True
        else:
            item.claims.append(Claim(headers[RUN], record.timestamp, int(headers[END])))


def _coordinates(headers: dict[str, str]) -> Coordinates | None:
    try:
        return Coordinates(headers["topic"], int(headers["partition"]), int(headers["offset"]))
    except (KeyError, ValueError):
        return None


def note_headers(item: Item, note: str, **more: str) -> list[tuple[str, bytes]]:
    """Headers of a note on *item*."""
    headers = {NOTE: note, OF: item.identity, **more}
    return [(name, value.encode()) for name, value in headers.items()]


def kind_of(reason: str) -> str:
    """A reason without what differs from record to record: texts in quotes, and numbers."""
    state = _SQLSTATE.match(reason)
    start = state.group() if state else ""
    return start + _NUMBER.sub("…", _QUOTED.sub("…", reason.removeprefix(start)))


class Group(NamedTuple):
    """Records of a topic that were refused for the same kind of reason; *example* is the newest."""

    topic: str
    reason: str
    total: int
    replayed: int
    example: Item


def groups(chosen: Iterable[tuple[Ledger, Iterable[Item]]]) -> list[Group]:
    """Items by topic and kind of reason, the most frequent first."""
    count: Counter[tuple[str, str]] = Counter()
    replayed: Counter[tuple[str, str]] = Counter()
    newest: dict[tuple[str, str], Item] = {}
    for ledger, items in chosen:
        for item in items:
            kind = ledger.topic, kind_of(item.reason)
            count[kind] += 1
            replayed[kind] += item.is_replayed
            if kind not in newest or item.timestamp >= newest[kind].timestamp:
                newest[kind] = item
    return [
        Group(*kind, number, replayed[kind], newest[kind])
        for kind, number in sorted(count.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
