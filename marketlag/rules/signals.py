"""Job 1: articles of one partition to hourly signals, in event time.

The rules are those of the Flink job at parallelism 1 over this partition's log:

- The watermark is ``max(published_at so far) - delay``, over all markets, and advances *after*
  its record. A window ``[start, end)`` closes at ``watermark >= end - 1 ms``.
- A record is late, and not counted, if its own window closed before (with ``allowed_lateness``:
  if that, too, has passed). A record of an old hour that is still open is welcome.
- ``source_weighted_signal = AVG(keyword_score * source_weight)``, ``source_weight_avg =
  AVG(source_weight)``; sums add in arrival order, which makes them equal to Flink's to the bit.
- Within a window and market an ``article_id`` counts once.

Open windows live in memory only: the log is their state. ``recovery_point`` names the offset
from which the same windows come out again, and what has to be known beside the log.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from marketlag.event_time import BEGINNING, format_ms, parse_ms
from marketlag.records import (
    HEARTBEAT,
    MAX_AHEAD_MS,
    MAX_NUMBER,
    Article,
    Heartbeat,
    LogRecord,
    Refusal,
    Refused,
    Signal,
    readable,
    too_far_ahead,
    undecodable,
)
from marketlag.windows import closes, tumbling

_decode_article = msgspec.json.Decoder(Article).decode
_decode_heartbeat = msgspec.json.Decoder(Heartbeat).decode
_NEVER: Final = 2**62


class RecoveryPoint(msgspec.Struct, frozen=True, array_like=True):
    """Beside the offset, all that a replay from it needs; the commit's metadata.

    Attributes:
        watermark: the watermark before the record at the offset (ms).
        emitted_through: windows that end by then are out for good (ms). On replay their records
            move the watermark as they did, and nothing else.
        done: records before this offset have had their DLQ and late outputs.
    """

    watermark: int = BEGINNING
    emitted_through: int = BEGINNING
    done: int = 0

    def metadata(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, metadata: str) -> "RecoveryPoint":
        """The reverse of ``metadata``; an empty text is the beginning of the log."""
        return msgspec.json.decode(metadata, type=cls) if metadata else cls()


class Aggregate:
    """One market's sums in one window."""

    __slots__ = ("article_ids", "count", "score", "weight", "weighted")

    def __init__(self) -> None:
        self.count = 0
        self.score = 0.0
        self.weighted = 0.0
        self.weight = 0.0
        self.article_ids: set[str] = set()


class Window:
    """A window that is open, or closed and still open to correction."""

    __slots__ = ("closed_by", "corrected", "end", "first_offset", "markets", "watermark_before")

    def __init__(self, end: int, first_offset: int, watermark_before: int) -> None:
        self.end = end
        self.markets: dict[str, Aggregate] = {}
        self.first_offset = first_offset
        self.watermark_before = watermark_before
        self.closed_by: int | None = None  # Kafka timestamp of the record that closed it
        self.corrected: set[str] = set()


class SignalState:
    """One partition's windows and watermark. All times and durations are milliseconds."""

    def __init__(
        self,
        *,
        size: int,
        delay: int,
        lateness: int = 0,
        point: RecoveryPoint | None = None,
        truncated: bool = False,
    ) -> None:
        point = point or RecoveryPoint()
        self.size = size
        self.delay = delay
        self.lateness = lateness
        self.watermark = point.watermark
        self.emitted_through = point.emitted_through
        self.done = point.done
        #: The log's start was cut off: the first record decides what can be whole.
        self.truncated = truncated
        self.windows: dict[int, Window] = {}

    def cut(self) -> None:
        """Records were deleted from the log before they were read.

        The windows held may lack some of them, so none of these is emitted.
        """
        self.windows.clear()
        self.truncated = True

    def recovery_point(self, position: int) -> tuple[int, RecoveryPoint]:
        """Offset and metadata to commit once everything before *position* is folded.

        The offset is the first record of the oldest window held, so a replay from there sees
        every record of every window that is not out yet.
        """
        through = max(self.emitted_through, self._final_through())
        if not self.windows:
            return position, RecoveryPoint(self.watermark, through, position)
        oldest = min(self.windows.values(), key=lambda window: window.first_offset)
        point = RecoveryPoint(oldest.watermark_before, through, max(self.done, position))
        return oldest.first_offset, point

    def _final_through(self) -> int:
        """The end of the newest window that can neither open nor be corrected any more."""
        if self.watermark == BEGINNING:
            return BEGINNING
        return tumbling(self.watermark + 1 - self.lateness, self.size)


class TimedSignal(msgspec.Struct, frozen=True):
    """A signal, and the Kafka timestamp of the record that closed its window."""

    signal: Signal
    timestamp: int


class SignalOutputs(msgspec.Struct):
    """What a batch gave: signals in order of window and market, refused and late records."""

    signals: list[TimedSignal] = msgspec.field(default_factory=list)
    refused: list[Refused] = msgspec.field(default_factory=list)
    late: list[LogRecord] = msgspec.field(default_factory=list)


def read_article(record: LogRecord) -> tuple[Article | None, int]:
    """Decode and check one record of ``rss.events``.

    Returns the article (``None`` for a heartbeat) and its event time. Raises ``Refusal``.
    """
    value = readable(record)
    try:
        article = _decode_article(value)
        published = parse_ms(article.published_at)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        return None, _read_heartbeat(record, value, exc)
    except ValueError as exc:
        raise Refusal(f"published_at is {exc}") from None
    if published > record.timestamp + MAX_AHEAD_MS:
        raise too_far_ahead("published_at")
    market = article.market_slug
    if market == HEARTBEAT:
        return None, published
    if not market:
        raise Refusal("empty market_slug")
    if record.key != market.encode():
        # The key is what puts a market into one partition; a second partition would make a
        # second, contradicting signal for the same hour.
        raise Refusal("the key is not the market_slug")
    if abs(article.keyword_score) > MAX_NUMBER or abs(article.source_weight) > MAX_NUMBER:
        raise Refusal(f"keyword_score or source_weight is beyond {MAX_NUMBER:g}")
    return article, published


def _read_heartbeat(record: LogRecord, value: bytes, why: Exception) -> int:
    try:
        heartbeat = _decode_heartbeat(value)
        if heartbeat.market_slug != HEARTBEAT:
            raise Refusal(undecodable(why))
        published = parse_ms(heartbeat.published_at)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Refusal(undecodable(why)) from None
    except ValueError as exc:
        raise Refusal(f"published_at is {exc}") from None
    if published > record.timestamp + MAX_AHEAD_MS:
        raise too_far_ahead("published_at")
    return published


# One function on purpose: it runs once per article, and calls cost more than its arithmetic.
def fold(  # noqa: C901, PLR0912
    state: SignalState, records: Iterable[LogRecord]
) -> SignalOutputs:
    """Fold a batch of ``rss.events`` into *state*, record by record.

    The outcome does not depend on how the log is cut into batches.
    """
    out = SignalOutputs()
    size, delay, lateness = state.size, state.delay, state.lateness
    windows = state.windows
    watermark = state.watermark
    next_turn = _next_turn(state)
    for record in records:
        try:
            article, published = read_article(record)
        except Refusal as exc:
            if record.offset >= state.done:
                out.refused.append(Refused(record, str(exc)))
            continue
        if state.truncated:
            _skip_cut_windows(state, published)
            watermark = state.watermark
        if article is not None:
            start = published - published % size
            end = start + size
            if watermark >= end - 1 + lateness:
                if record.offset >= state.done:
                    out.late.append(record)
            elif end > state.emitted_through:
                window = windows.get(start)
                if window is None:
                    window = windows[start] = Window(end, record.offset, watermark)
                    next_turn = min(next_turn, end - 1)
                    if closes(end, watermark):
                        window.closed_by = record.timestamp
                        next_turn = min(next_turn, end - 1 + lateness)
                _count(window, article)
        if published - delay > watermark:
            watermark = published - delay
            if watermark >= next_turn:
                state.watermark = watermark
                _turn(state, record.timestamp, out)
                next_turn = _next_turn(state)
    state.watermark = watermark
    for window in windows.values():
        _emit_corrections(window, state, out)
    return out


def _count(window: Window, article: Article) -> None:
    aggregate = window.markets.get(article.market_slug)
    if aggregate is None:
        aggregate = window.markets[article.market_slug] = Aggregate()
    if article.article_id:
        if article.article_id in aggregate.article_ids:
            return
        aggregate.article_ids.add(article.article_id)
    aggregate.count += 1
    aggregate.score += article.keyword_score
    aggregate.weighted += article.keyword_score * article.source_weight
    aggregate.weight += article.source_weight
    if window.closed_by is not None:
        window.corrected.add(article.market_slug)


def _skip_cut_windows(state: SignalState, first: int) -> None:
    """Give up the windows that may have had a record before the first one that is left.

    That record may itself be a late one. So what was read before the cut counts as well: it had
    reached one delay past the watermark, somewhere in the window after those that are out.
    """
    state.truncated = False
    through = max(state.emitted_through, state._final_through())
    if through != BEGINNING:
        state.watermark = max(state.watermark, through - 1 + state.lateness)
        first = max(first, through + state.lateness + state.delay + state.size)
    state.emitted_through = -(-first // state.size) * state.size


def _next_turn(state: SignalState) -> int:
    """The lowest watermark at which some window closes, or stops taking corrections."""
    return min(
        (
            window.end - 1 + (0 if window.closed_by is None else state.lateness)
            for window in state.windows.values()
        ),
        default=_NEVER,
    )


def _turn(state: SignalState, timestamp: int, out: SignalOutputs) -> None:
    """Close what the watermark has passed, and forget what can no longer be corrected."""
    for start in sorted(state.windows):
        window = state.windows[start]
        if window.closed_by is None and closes(window.end, state.watermark):
            window.closed_by = timestamp
            _emit(window, sorted(window.markets), state, out)
        if state.watermark >= window.end - 1 + state.lateness:
            _emit_corrections(window, state, out)
            del state.windows[start]


def _emit_corrections(window: Window, state: SignalState, out: SignalOutputs) -> None:
    if window.corrected:
        _emit(window, sorted(window.corrected), state, out)
        window.corrected.clear()


def _emit(window: Window, markets: list[str], state: SignalState, out: SignalOutputs) -> None:
    assert window.closed_by is not None
    for market in markets:
        aggregate = window.markets[market]
        out.signals.append(
            TimedSignal(
                Signal(
                    market_slug=market,
                    window_start=format_ms(window.end - state.size),
                    window_end=format_ms(window.end),
                    mention_count=aggregate.count,
                    keyword_score=aggregate.score,
                    source_weighted_signal=aggregate.weighted / aggregate.count,
                    source_weight_avg=aggregate.weight / aggregate.count,
                ),
                window.closed_by,
            )
        )
