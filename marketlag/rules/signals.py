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
from typing import Annotated, Final

import msgspec

from marketlag.event_time import BEGINNING, format_ms, parse_ms
from marketlag.records import (
    HEARTBEAT,
    MAX_AHEAD_MS,
    MAX_NUMBER,
    MAX_VALUE_BYTES,
    UNDECODABLE,
    Article,
    Heartbeat,
    LogRecord,
    Refusal,
    Refused,
    Signal,
    readable,
    refused,
    too_far_ahead,
    undecodable,
)
from marketlag.windows import closes, tumbling

_Bounded = Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
_decode_article = msgspec.json.Decoder(Article).decode
_decode_heartbeat = msgspec.json.Decoder(Heartbeat).decode
_NEVER: Final = 2**62
_NONE: Final[dict[bytes, "Aggregate"]] = {}


class _UsualArticle(Article, gc=False):
    """An article whose numbers need no further look. The decoder checks the bounds for nothing."""

    keyword_score: _Bounded
    source_weight: _Bounded


_decode_usual = msgspec.json.Decoder(_UsualArticle).decode
_UNUSUAL = (*UNDECODABLE, ValueError)


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

    __slots__ = ("article_ids", "count", "market", "score", "weight", "weighted")

    def __init__(self, market: str) -> None:
        self.market = market
        self.count = 0
        self.score = 0.0
        self.weighted = 0.0
        self.weight = 0.0
        self.article_ids: set[str] = set()


class Window:
    """A window that is open, or closed and still open to correction."""

    __slots__ = ("aggregates", "closed_by", "corrected", "end", "first_offset", "watermark_before")

    def __init__(self, end: int, first_offset: int, watermark_before: int) -> None:
        self.end = end
        self.aggregates: dict[bytes, Aggregate] = {}  # by the record's key, the market in UTF-8
        self.first_offset = first_offset
        self.watermark_before = watermark_before
        self.closed_by: int | None = None  # Kafka timestamp of the record that closed it
        self.corrected: set[bytes] = set()


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
    """What a batch gave: signals in order of window and market, refused and late records.

    ``duplicates`` counts the articles that were in their window already.
    """

    signals: list[TimedSignal] = msgspec.field(default_factory=list)
    refused: list[Refused] = msgspec.field(default_factory=list)
    late: list[LogRecord] = msgspec.field(default_factory=list)
    duplicates: int = 0


def read_article(record: LogRecord) -> tuple[Article | None, int]:
    """Decode and check one record of ``rss.events``.

    Returns the article (``None`` for a heartbeat) and its event time. Raises ``Refusal``.
    """
    value = readable(record)
    try:
        article = _decode_article(value)
        published = parse_ms(article.published_at)
    except UNDECODABLE as exc:
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
            raise undecodable(why)
        published = parse_ms(heartbeat.published_at)
    except UNDECODABLE:
        raise undecodable(why) from None
    except ValueError as exc:
        raise Refusal(f"published_at is {exc}") from None
    if published > record.timestamp + MAX_AHEAD_MS:
        raise too_far_ahead("published_at")
    return published


# The hot loop. It takes the articles that need no thought, those for a window that is open, itself:
# decoding is a third of its time, and a call costs more than its arithmetic. Whatever else a record
# may be goes to ``_take``, which is the rule; the two are held equal by a test.
def fold(  # noqa: C901
    state: SignalState, records: Iterable[LogRecord]
) -> SignalOutputs:
    """Fold a batch of ``rss.events`` into *state*, record by record.

    The outcome does not depend on how the log is cut into batches.
    """
    out = SignalOutputs()
    size, delay, windows = state.size, state.delay, state.windows
    watermark, next_turn = state.watermark, _next_turn(state)
    start, end, aggregates = 0, 0, _NONE  # of the window that is open and had the record before
    for record in records:
        value, key = record.value or b"", record.key or b""
        try:
            article = _decode_usual(value)
            published = parse_ms(article.published_at)
        except _UNUSUAL:
            article, published = None, BEGINNING
        if not start <= published < end:
            window = windows.get(published - published % size)
            if window is not None and window.closed_by is None:
                end, aggregates = window.end, window.aggregates
                start = end - size
        if (
            article is None
            or not start <= published < end
            or published > record.timestamp + MAX_AHEAD_MS
            or len(value) > MAX_VALUE_BYTES
            or (aggregate := aggregates.get(key) or _opened(aggregates, key, article)) is None
            or aggregate.market != article.market_slug
        ):
            state.watermark = watermark
            _take(state, record, out)
            watermark, next_turn = state.watermark, _next_turn(state)
            start, end, aggregates = 0, 0, _NONE
            continue
        article_id = article.article_id
        if not article_id or article_id not in aggregate.article_ids:
            if article_id:
                aggregate.article_ids.add(article_id)
            score, weight = article.keyword_score, article.source_weight
            aggregate.count += 1
            aggregate.score += score
            aggregate.weighted += score * weight
            aggregate.weight += weight
        else:
            out.duplicates += 1
        if published - delay > watermark:
            watermark = published - delay
            if watermark >= next_turn:
                state.watermark = watermark
                _turn(state, record.timestamp, out)
                next_turn = _next_turn(state)
                start, end, aggregates = 0, 0, _NONE
    state.watermark = watermark
    for window in windows.values():
        _emit_corrections(window, state, out)
    return out


def _opened(aggregates: dict[bytes, Aggregate], key: bytes, article: Article) -> Aggregate | None:
    """A new aggregate for the first article of a market in a window; ``None`` for a record that
    is not an article of the market in its key.
    """
    market = article.market_slug
    if not key or market == HEARTBEAT or key != market.encode():
        return None
    aggregate = aggregates[key] = Aggregate(market)
    return aggregate


def _take(state: SignalState, record: LogRecord, out: SignalOutputs) -> None:
    """The whole rule for one record, whatever it is."""
    try:
        article, published = read_article(record)
    except Refusal as exc:
        if record.offset >= state.done:
            out.refused.append(refused(record, exc))
        return
    if state.truncated:
        _skip_cut_windows(state, published)
    if article is not None:
        end = tumbling(published, state.size) + state.size
        if closes(end + state.lateness, state.watermark):
            if record.offset >= state.done:
                out.late.append(record)
        elif end > state.emitted_through:
            out.duplicates += not _count(_window(state, end, record), article)
    if published - state.delay > state.watermark:
        state.watermark = published - state.delay
        _turn(state, record.timestamp, out)


def _window(state: SignalState, end: int, record: LogRecord) -> Window:
    """The window that ends there; opened by *record* if there is none."""
    window = state.windows.get(end - state.size)
    if window is None:
        window = Window(end, record.offset, state.watermark)
        state.windows[end - state.size] = window
        if closes(end, state.watermark):
            window.closed_by = record.timestamp
    return window


def _count(window: Window, article: Article) -> bool:
    """Whether it counts: once."""
    key = article.market_slug.encode()
    aggregate = window.aggregates.get(key)
    if aggregate is None:
        aggregate = window.aggregates[key] = Aggregate(article.market_slug)
    if article.article_id:
        if article.article_id in aggregate.article_ids:
            return False
        aggregate.article_ids.add(article.article_id)
    aggregate.count += 1
    aggregate.score += article.keyword_score
    aggregate.weighted += article.keyword_score * article.source_weight
    aggregate.weight += article.source_weight
    if window.closed_by is not None:
        window.corrected.add(key)
    return True


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
            _emit(window, window.aggregates, state, out)
        if closes(window.end + state.lateness, state.watermark):
            _emit_corrections(window, state, out)
            del state.windows[start]


def _emit_corrections(window: Window, state: SignalState, out: SignalOutputs) -> None:
    if window.corrected:
        _emit(window, window.corrected, state, out)
        window.corrected.clear()


def _emit(window: Window, keys: Iterable[bytes], state: SignalState, out: SignalOutputs) -> None:
    assert window.closed_by is not None
    window_start, window_end = format_ms(window.end - state.size), format_ms(window.end)
    for key in sorted(keys):
        aggregate = window.aggregates[key]
        out.signals.append(
            TimedSignal(
                Signal(
                    market_slug=aggregate.market,
                    window_start=window_start,
                    window_end=window_end,
                    mention_count=aggregate.count,
                    keyword_score=aggregate.score,
                    source_weighted_signal=aggregate.weighted / aggregate.count,
                    source_weight_avg=aggregate.weight / aggregate.count,
                ),
                window.closed_by,
            )
        )
