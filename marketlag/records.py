"""The records on the wire, one class a topic, and how bytes become them.

Values are JSON, UTF-8; times are ISO-8601 (see ``event_time``). JSON has no NaN and no infinity,
and msgspec refuses both, so every number decoded here is finite.
"""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

#: The market slug of a record that only tells that time has passed.
HEARTBEAT = "__heartbeat__"

#: Header of a normalized price: the offset of the record in ``polymarket.price_hourly``. Of two
#: equal prices the later *source* record wins, however often Job 2 sent either of them.
SOURCE_OFFSET = "source-offset"
#: Header of a normalized price: the partition of ``polymarket.price_hourly`` that it came from.
#: Re-keying mixes several logs into one partition, each read at its own pace.
SOURCE_PARTITION = "source-partition"
#: Header of a normalized price: the clock (ms) of that partition with this price.
SOURCE_CLOCK = "source-clock"

#: A record may be stamped this far ahead of its arrival. One article stamped 2031 would
#: otherwise close every window of its partition.
MAX_AHEAD_MS = 5 * 60_000

#: Scores and weights beyond it are refused: their sums and squares have to stay finite.
MAX_NUMBER = 1e12

#: Larger values are refused: real articles have 300 to 600 bytes, some 20 kB.
MAX_VALUE_BYTES = 512 * 1024


class LogRecord(Protocol):
    """A record as it stands in a Kafka partition (aiokafka's ``ConsumerRecord`` is one)."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


#: What decoding raises; the last one for JSON that is nested a thousand deep.
UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Refusal(Exception):
    """A record that cannot be used; the text is the reason that goes to the DLQ."""

    kind: "Reason" = "unusable"


class Undecodable(Refusal):
    """A value that is no record of its topic."""

    kind = "undecodable"


#: Kinds of reasons: what is no record at all, what breaks a rule, what Postgres does not take, and
#: what a producer was given by a source and could not use.
Reason = Literal["undecodable", "unusable", "postgres", "source"]


class Refused(msgspec.Struct, frozen=True):
    """A record for the DLQ, and why."""

    record: LogRecord
    reason: str
    kind: Reason = "unusable"


class Article(msgspec.Struct, gc=False):
    """``rss.events``: what Job 1 needs of an article. Other fields are passed over."""

    market_slug: str
    title: str
    link: str
    published_at: str
    source_weight: float
    keyword_score: float
    article_id: str | None = None


class Heartbeat(msgspec.Struct, gc=False):
    """``rss.events``: event time has reached ``published_at``, and no more."""

    market_slug: str
    published_at: str


class PriceClock(msgspec.Struct, gc=False):
    """``polymarket.price_hourly``: a heartbeat, event time has reached ``event_time``.

    ``polymarket.price_normalized``: Job 2 tells each partition how far a partition of
    ``polymarket.price_hourly`` is, as Flink broadcasts watermarks.
    """

    market_slug: str
    event_time: str


class Price(msgspec.Struct, kw_only=True):
    """``polymarket.price_hourly`` and ``polymarket.price_normalized``."""

    market_slug: str
    outcome: str
    price: float
    prev_price: float | None = None
    price_delta: float | None = None
    event_time: str
    fetched_at: str | None = None
    stale: bool = False


class Poll(msgspec.Struct, frozen=True):
    """``producers.polls``: a source was polled.

    Attributes:
        kind: ``rss`` (the source is a feed's URL) or ``prices`` (a market's slug).
        polled_at: start of the poll.
        answered_at: start of the newest poll that was answered, if there was one.
        waiting_since: that, or else the start of the first poll.
    """

    kind: str
    source: str
    polled_at: str
    answered_at: str | None
    waiting_since: str


class Signal(msgspec.Struct, frozen=True):
    """``rss.signals_hourly``: one market's closed window."""

    market_slug: str
    window_start: str
    window_end: str
    mention_count: int
    keyword_score: float
    source_weighted_signal: float
    source_weight_avg: float


class LagRow(msgspec.Struct, frozen=True, kw_only=True):
    """``lag_signals`` and a row of ``lag_signals_history``.

    ``version`` orders two versions of the same row; see ``rules.lags.version_of``.
    """

    market: str
    window: str
    outcome: str
    signal_delta: float | None
    price_delta: float
    lag_flag: bool
    confidence: float
    rss_signal: float
    prev_rss_signal: float | None
    max_signal_delta: float
    signal_zscore: float | None
    price: float | None
    prev_price: float | None
    stale: bool | None
    mention_count: int
    keyword_score: float
    source_weight_avg: float
    detected_at: str
    version: tuple[int, int, int, int]

    @property
    def key(self) -> tuple[str, ...]:
        return self.market, self.window


class PriceRow(msgspec.Struct, frozen=True, kw_only=True):
    """``polymarket.price_history`` and a row of ``price_hourly``; of every outcome.

    ``outcome_key`` is the outcome case-folded. ``version`` is (freshness, ``fetched_at`` in ms,
    offset and partition in ``polymarket.price_hourly``).
    """

    market: str
    outcome: str
    outcome_key: str
    hour: str
    price: float
    prev_price: float | None
    price_delta: float
    stale: bool
    fetched_at: str
    version: tuple[int, int, int, int]

    @property
    def key(self) -> tuple[str, ...]:
        return self.market, self.outcome_key, self.hour


def readable(record: LogRecord) -> bytes:
    """The value of *record*; raises ``Refusal`` where there is nothing to decode."""
    value = record.value
    if value is None:
        raise Refusal("empty value")
    if len(value) > MAX_VALUE_BYTES:
        raise Refusal(f"value of {len(value)} bytes, more than {MAX_VALUE_BYTES} are not read")
    if not record.key:
        raise Refusal("empty key")
    return value


def too_far_ahead(name: str) -> Refusal:
    """For a time more than ``MAX_AHEAD_MS`` ahead of the record's own arrival."""
    return Refusal(f"{name} is more than 5 minutes later than the record's own timestamp")


def undecodable(exc: Exception) -> Undecodable:
    """The refusal to make of an error that msgspec raised while decoding."""
    if isinstance(exc, UnicodeDecodeError):
        return Undecodable("not UTF-8")
    if isinstance(exc, msgspec.DecodeError) and not isinstance(exc, msgspec.ValidationError):
        return Undecodable(f"not JSON: {exc}")
    return Undecodable(f"invalid: {exc}")


def refused(record: LogRecord, refusal: Refusal) -> Refused:
    """The record for the DLQ."""
    return Refused(record, str(refusal), refusal.kind)
