"""Job 3's facts, one partition's: what the tables hold, indexed, and when it expires.

Each log has a clock, its newest event time. The signals' partition is one log; the prices' mixes
the partitions of ``polymarket.price_hourly``, and each of these is one. A record more than the TTL
behind the clock *of its own log* changes nothing; that cannot depend on how logs interleave. Facts
are dropped only when the *committed* clocks of all logs have passed them, so that no redelivered
record can miss one.
"""

from bisect import bisect_left
from collections.abc import Mapping

import msgspec

from marketlag.event_time import BEGINNING, HOUR
from marketlag.rules.baseline import BASELINE_MS, Baseline
from marketlag.windows import tumbling


class HourFact(msgspec.Struct, array_like=True, gc=False):
    """A market's window: its newest signal, and what LAG and max carry up to and with it.

    The carried figures are derived; they are kept with the fact so that the oldest window held
    still knows what came before it.

    Attributes:
        start: window start (ms).
        closed_at: Kafka timestamp of the record that closed the window (ms).
        max_delta: largest signal delta so far, at least 0.
        mentions: articles so far; grows with every signal and every correction.
        newest: newest ``closed_at`` so far (ms).
    """

    start: int
    count: int
    score: float
    signal: float
    weight: float
    closed_at: int
    max_delta: float = 0.0
    mentions: int = 0
    newest: int = 0

    @property
    def is_carried_on(self) -> bool:
        return self.mentions > self.count


class PriceFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The best price of a market's hour.

    Attributes:
        fetched_at: ms.
        offset, source: of the record in ``polymarket.price_hourly``, and its partition there.
        tie: how many prices of the same rank and another content it replaced.
        timestamp: Kafka timestamp of that record (ms).
    """

    price: float
    prev_price: float | None
    delta: float
    stale: bool
    fetched_at: int
    offset: int
    timestamp: int
    tie: int = 0
    source: int = -1

    @property
    def rank(self) -> tuple[bool, int]:
        return not self.stale, self.fetched_at

    @property
    def place(self) -> tuple[int, int]:
        """Orders prices of one rank: in one partition, the later counts."""
        return self.offset, self.source

    @property
    def content(self) -> tuple[float, float | None, float]:
        return self.price, self.prev_price, self.delta


class MarketHours:
    """A market's windows in order of time, and the baseline that each was judged by."""

    __slots__ = ("baselines", "facts", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.facts: list[HourFact] = []
        #: By the start of the window at which it ends.
        self.baselines: dict[int, Baseline] = {}

    def put(self, fact: HourFact) -> None:
        index = bisect_left(self.starts, fact.start)
        if index < len(self.starts) and self.starts[index] == fact.start:
            self.facts[index] = fact
        else:
            self.starts.insert(index, fact.start)
            self.facts.insert(index, fact)

    def get(self, start: int) -> HourFact | None:
        index = bisect_left(self.starts, start)
        found = index < len(self.starts) and self.starts[index] == start
        return self.facts[index] if found else None

    def carries_on_past(self, start: int) -> bool:
        """Whether *start* is not after the oldest window held, and that stands for expired ones.

        A log that is read again without its commits (topics made anew, offsets reset) brings such
        records; taking them would cut what LAG and max carry.
        """
        return bool(self.facts) and start <= self.starts[0] and self.facts[0].is_carried_on


class LagState:
    """One partition's facts, indexed, and the clocks of its logs (ms)."""

    def __init__(
        self, signal_clock: int = BEGINNING, price_clocks: Mapping[int, int] | None = None
    ) -> None:
        self.hours: dict[str, MarketHours] = {}
        self.prices: dict[str, dict[int, PriceFact]] = {}
        self.signal_clock = signal_clock
        #: By partition of ``polymarket.price_hourly``.
        self.price_clocks = dict(price_clocks or {})
        self._expired_before = BEGINNING

    def tell_price_clock(self, source: int, clock: int) -> None:
        """A partition of ``polymarket.price_hourly`` has got this far (ms)."""
        self.price_clocks[source] = max(clock, self.price_clocks.get(source, clock))

    def load_hour(self, market: str, fact: HourFact) -> None:
        self.hours.setdefault(market, MarketHours()).put(fact)

    def load_baseline(self, market: str, start: int, baseline: Baseline) -> None:
        """*start* is that of the window at which the baseline ends."""
        self.hours.setdefault(market, MarketHours()).baselines[start] = baseline

    def load_price(self, market: str, hour: int, fact: PriceFact) -> None:
        self.prices.setdefault(market, {})[hour] = fact


def better(known: PriceFact | None, new: PriceFact) -> PriceFact:
    """The better of two prices of one hour.

    A price that only repeats the known one is not better, so that a log read twice gives the same
    versions.
    """
    if known is None or new.rank > known.rank:
        return new
    if new.rank == known.rank and new.place > known.place and new.content != known.content:
        return msgspec.structs.replace(new, tie=known.tie + 1)
    return known


class Expired(msgspec.Struct):
    """Keys to delete from the tables: market, and start of the window or hour."""

    hours: list[tuple[str, int]] = msgspec.field(default_factory=list)
    baselines: list[tuple[str, int]] = msgspec.field(default_factory=list)
    prices: list[tuple[str, int]] = msgspec.field(default_factory=list)


def expire(state: LagState, committed: int, ttl: int) -> Expired:
    """Drop what no record can need any more; *committed* is the lesser committed clock (ms).

    Of each market the newest window before the horizon stays for one more TTL: LAG, max and the
    version are carried on from it. Windows stay a day longer than prices, for the baseline, and
    with their baselines an hour: at its end, a window can join the price of the hour after it.
    """
    out = Expired()
    horizon = tumbling(committed - ttl, HOUR)
    if committed == BEGINNING or horizon <= state._expired_before:
        return out
    state._expired_before = horizon
    for market in list(state.prices):
        known = state.prices[market]
        for hour in [hour for hour in known if hour < horizon]:
            del known[hour]
            out.prices.append((market, hour))
        if not known:
            del state.prices[market]
    windows_from = horizon - HOUR
    for market in list(state.hours):
        hours = state.hours[market]
        for start in [start for start in hours.baselines if start < windows_from]:
            del hours.baselines[start]
            out.baselines.append((market, start))
        gone = _windows_gone(hours.starts, windows_from - min(BASELINE_MS, ttl), ttl)
        out.hours += [(market, start) for start in hours.starts[:gone]]
        del hours.starts[:gone], hours.facts[:gone]
        if not hours.starts and not hours.baselines:
            del state.hours[market]
    return out


def _windows_gone(starts: list[int], needed_from: int, ttl: int) -> int:
    """How many of a market's oldest windows nothing can need any more."""
    gone = max(0, bisect_left(starts, needed_from) - 1)
    if starts and starts[gone] < needed_from - ttl:
        gone += 1
    return gone
