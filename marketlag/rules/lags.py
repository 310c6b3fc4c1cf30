"""Job 3: signals and prices of one partition to lag rows.

A row ``(market, window)`` is a pure function of the newest signal of each of the market's windows
up to it and of the best price of its hour:

- LAG and max run over the market's consecutive windows with articles; they start anew where two
  of them are more than the TTL apart.
- The best of several prices of an hour: not stale before stale, then the latest ``fetched_at``,
  then the later source offset.
- A row without a price is emitted at once and replaced when the price comes.

Whatever the interleaving of the two topics, and however often a record is delivered, the row with
the greatest version is the same.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import msgspec

from marketlag.event_time import DAY, HOUR, format_ms, parse_ms
from marketlag.records import (
    HEARTBEAT,
    SOURCE_CLOCK,
    SOURCE_OFFSET,
    SOURCE_PARTITION,
    UNDECODABLE,
    LagRow,
    LogRecord,
    Price,
    PriceClock,
    Refused,
    Signal,
    refused,
    undecodable,
)
from marketlag.rules.baseline import BASELINE_MS, Baseline, baseline_of, zscore
from marketlag.rules.facts import (
    HourFact,
    LagState,
    MarketHours,
    PriceFact,
    better,
)
from marketlag.windows import tumbling

_decode_signal = msgspec.json.Decoder(Signal).decode
_decode_price = msgspec.json.Decoder(Price).decode
_decode_clock = msgspec.json.Decoder(PriceClock).decode


class LagRules(msgspec.Struct, frozen=True):
    """What the settings say. Durations in milliseconds, deltas as in the records."""

    window: int = HOUR
    signal_rule: Literal["absolute", "relative", "either"] = "absolute"
    signal_threshold: float = 1.0
    zscore_threshold: float = 3.0
    price_threshold: float = 0.02
    ttl: int = 7 * DAY
    price_at_window_end: bool = False

    @property
    def baseline(self) -> int:
        """How far a baseline looks back: not across a gap at which LAG and max start anew."""
        return min(BASELINE_MS, self.ttl)


class TimedRow(msgspec.Struct, frozen=True):
    """A row, and the Kafka timestamp of the newest record that went into it (ms)."""

    row: LagRow
    timestamp: int


class LagOutputs(msgspec.Struct):
    """Rows to emit, and facts to write: ``(market, start of window or hour) -> fact``.

    ``late`` counts records older than the TTL; ``refused`` did not decode, which only a foreign
    writer in our own topics can cause.
    """

    rows: list[TimedRow] = msgspec.field(default_factory=list)
    hours: dict[tuple[str, int], HourFact] = msgspec.field(default_factory=dict)
    baselines: dict[tuple[str, int], Baseline] = msgspec.field(default_factory=dict)
    prices: dict[tuple[str, int], PriceFact] = msgspec.field(default_factory=dict)
    refused: list[Refused] = msgspec.field(default_factory=list)
    late: int = 0


def fold_signals(
    state: LagState, records: Iterable[LogRecord], rules: LagRules, tracked: "Tracked"
) -> LagOutputs:
    """Take a batch of ``rss.signals_hourly``; the rows from the first changed window on.

    A signal that is known already gives its rows again: it may be here because they were lost.
    """
    out = LagOutputs()
    changed: dict[str, list[int]] = defaultdict(list)
    for record in records:
        try:
            signal = _decode_signal(record.value or b"")
            start = parse_ms(signal.window_start)
        except (*UNDECODABLE, ValueError) as exc:
            out.refused.append(refused(record, undecodable(exc)))
            continue
        state.signal_clock = max(state.signal_clock, start)
        if start < state.signal_clock - rules.ttl:
            out.late += 1
            continue
        market = signal.market_slug
        hours = state.hours.setdefault(market, MarketHours())
        known = hours.get(start)
        if hours.carries_on_past(start):
            out.late += 1
            continue
        # A correction always adds an article; a replay repeats the smaller counts first.
        if known is None or signal.mention_count > known.count:
            hours.put(
                HourFact(
                    start,
                    signal.mention_count,
                    signal.keyword_score,
                    signal.source_weighted_signal,
                    signal.source_weight_avg,
                    record.timestamp,
                )
            )
        changed[market].append(start)
    for market, starts in changed.items():
        join = _Join(state, rules, market, tracked(market), state.hours[market])
        for hour, row in _recompute(join, starts):
            out.hours[market, hour.start] = hour
            out.baselines[market, hour.start] = state.hours[market].baselines[hour.start]
            out.rows.append(row)
    return out


def fold_prices(
    state: LagState, records: Iterable[LogRecord], rules: LagRules, tracked: "Tracked"
) -> LagOutputs:
    """Take a batch of ``polymarket.price_normalized``; the rows of the hours they price."""
    out = LagOutputs()
    priced: set[tuple[str, int]] = set()
    for record in records:
        try:
            source = int(_header(record, SOURCE_PARTITION) or -1)
            if record.key == HEARTBEAT.encode():
                told = _decode_clock(record.value or b"")
                state.tell_price_clock(source, parse_ms(told.event_time))
                continue
            price = _decode_price(record.value or b"")
            hour = parse_ms(price.event_time)
            fact = _price_fact(price, record, source)
            clock = int(_header(record, SOURCE_CLOCK) or state.price_clocks.get(source, hour))
        except (*UNDECODABLE, ValueError) as exc:
            out.refused.append(refused(record, undecodable(exc)))
            continue
        state.tell_price_clock(source, max(hour, clock))
        if hour < clock - rules.ttl:
            out.late += 1
            continue
        market = price.market_slug
        if price.outcome.casefold() != tracked(market).casefold():
            continue
        known = state.prices.setdefault(market, {})
        best = better(known.get(hour), fact)
        known[hour] = best
        out.prices[market, hour] = best
        priced.add((market, hour))
    for market, hour in sorted(priced):
        if market in state.hours:
            join = _Join(state, rules, market, tracked(market), state.hours[market])
            out.rows += _rows_priced_at(join, hour)
    return out


def _header(record: LogRecord, name: str) -> bytes | None:
    return dict(record.headers).get(name)


def _price_fact(price: Price, record: LogRecord, source: int) -> PriceFact:
    source_offset = _header(record, SOURCE_OFFSET)
    return PriceFact(
        price=price.price,
        prev_price=price.prev_price,
        delta=price.price_delta or 0.0,
        stale=price.stale,
        fetched_at=parse_ms(price.fetched_at or price.event_time),
        offset=int(source_offset) if source_offset else record.offset,
        timestamp=record.timestamp,
        source=source,
    )


class _Join(NamedTuple):
    """What a row of one market is made of, beside its own window."""

    state: LagState
    rules: LagRules
    market: str
    outcome: str
    hours: MarketHours


def _rows_priced_at(join: _Join, hour: int) -> Iterator[TimedRow]:
    starts, facts = join.hours.starts, join.hours.facts
    first = bisect_left(starts, hour - join.rules.window)
    for index in range(first, bisect_left(starts, hour + HOUR)):
        if price_hour(starts[index], join.rules) == hour:
            yield _row(join, facts[index], facts[index - 1] if index else None)


def price_hour(start: int, rules: LagRules) -> int:
    """The hour whose price a window joins (ms)."""
    at = start + rules.window if rules.price_at_window_end else start
    return tumbling(at, HOUR)


def _recompute(join: _Join, changed: list[int]) -> Iterator[tuple[HourFact, TimedRow]]:
    """Carry LAG and max on from the first *changed* window to all that depend on one of them.

    And the baselines, which look back less far than LAG and max are carried.
    """
    hours = join.hours
    first = bisect_left(hours.starts, min(changed))
    last_changed = max(changed)
    previous = hours.facts[first - 1] if first else None
    for fact in hours.facts[first:]:
        restarts = previous is None or fact.start - previous.start > join.rules.ttl
        if restarts and fact.start > last_changed:
            return  # what follows a gap does not depend on what lies before it
        if restarts or previous is None:
            fact.max_delta, fact.mentions, fact.newest = 0.0, fact.count, fact.closed_at
        else:
            fact.max_delta = max(previous.max_delta, fact.signal - previous.signal, 0.0)
            fact.mentions = previous.mentions + fact.count
            fact.newest = max(previous.newest, fact.closed_at)
        hours.baselines[fact.start] = _baseline(join, fact)
        yield fact, _row(join, fact, previous)
        previous = fact


def _baseline(join: _Join, fact: HourFact) -> Baseline:
    starts = join.hours.starts
    low = bisect_left(starts, fact.start - join.rules.baseline)
    high = bisect_left(starts, fact.start)
    return baseline_of([each.signal for each in join.hours.facts[low:high]], fact.mentions)


def _row(join: _Join, fact: HourFact, previous: HourFact | None) -> TimedRow:
    state, rules, market, outcome, hours = join
    if previous is not None and fact.start - previous.start > rules.ttl:
        previous = None
    price = state.prices.get(market, {}).get(price_hour(fact.start, rules))
    price_delta = price.delta if price else 0.0
    signal_delta = None if previous is None else fact.signal - previous.signal
    detected_at = max(fact.newest, price.timestamp) if price else fact.newest
    baseline = hours.baselines.get(fact.start)
    if baseline is None or baseline.mentions != fact.mentions:
        # The tables' changelogs have no common order: a worker may have died between the two.
        baseline = _baseline(join, fact)
    relative = zscore(fact.signal, baseline)
    row = LagRow(
        market=market,
        window=format_ms(fact.start),
        outcome=outcome,
        signal_delta=signal_delta,
        price_delta=price_delta,
        lag_flag=is_lag(signal_delta, relative, price_delta, rules),
        confidence=confidence(signal_delta, fact.max_delta, price_delta, fact.weight),
        rss_signal=fact.signal,
        prev_rss_signal=None if previous is None else previous.signal,
        max_signal_delta=fact.max_delta,
        signal_zscore=relative,
        price=price.price if price else None,
        prev_price=price.prev_price if price else None,
        stale=price.stale if price else None,
        mention_count=fact.count,
        keyword_score=fact.score,
        source_weight_avg=fact.weight,
        detected_at=format_ms(detected_at),
        version=version_of(fact, price),
    )
    return TimedRow(row, detected_at)


def is_lag(
    signal_delta: float | None, relative: float | None, price_delta: float, rules: LagRules
) -> bool:
    """The news jumped and the price did not move.

    ``absolute``: the signal's delta is above its threshold, as in the original. ``relative``: its
    z-score is, so that a market with few articles can jump and one with many has to jump further.
    """
    jumps = {
        "absolute": signal_delta is not None and signal_delta > rules.signal_threshold,
        "relative": relative is not None and relative > rules.zscore_threshold,
    }
    jumped = any(jumps.values()) if rules.signal_rule == "either" else jumps[rules.signal_rule]
    return jumped and abs(price_delta) < rules.price_threshold


def confidence(
    signal_delta: float | None, max_delta: float, price_delta: float, source_weight: float
) -> float:
    """``0.5 * jump / largest jump + 0.3 * (1 - |price move|) + 0.2 * source weight``.

    Every factor is clamped to [0, 1], as the original's own text asks (its SQL, taken literally,
    gives 1.0 for 0/0 and minus infinity below it).
    """
    jump = max(0.0, signal_delta) / max_delta if signal_delta is not None and max_delta else 0.0
    still = max(0.0, 1.0 - abs(price_delta))
    return 0.5 * jump + 0.3 * still + 0.2 * min(1.0, max(0.0, source_weight))


def version_of(fact: HourFact, price: PriceFact | None) -> tuple[int, int, int, int]:
    """Orders all rows that are ever computed for one (market, window).

    ``(articles so far, price freshness, fetched_at, tie)``, compared from left to right. Every
    input that can change the row makes one part greater and none smaller: a signal or a correction
    of this or an earlier window adds articles, a better price ranks higher. So the row with all
    inputs has the greatest version, whoever computes which row when.
    """
    if price is None:
        return fact.mentions, 0, 0, 0
    return fact.mentions, 1 if price.stale else 2, price.fetched_at, price.tie


class Tracked:
    """The outcome that each market tracks; YES for a market that is not listed."""

    def __init__(self, outcomes: Mapping[str, str] | None = None) -> None:
        self._outcomes = dict(outcomes or {})

    def __call__(self, market: str) -> str:
        return self._outcomes.get(market, "YES")
