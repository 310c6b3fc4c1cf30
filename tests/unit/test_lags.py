"""Job 3, rule by rule: signals and prices in, exact rows out."""

from typing import Any

import msgspec
import pytest

from marketlag.event_time import DAY, HOUR, MINUTE, format_ms
from marketlag.records import SOURCE_OFFSET, SOURCE_PARTITION, LagRow, Price, Signal
from marketlag.rules.facts import HourFact, LagState, PriceFact, better, expire
from marketlag.rules.lags import (
    LagOutputs,
    LagRules,
    Tracked,
    confidence,
    fold_prices,
    fold_signals,
    is_lag,
)
from tests.support.logs import ARRIVAL, Record, at, price

RULES = LagRules()
TEN = at("10:00")


def signal(start: int, value: float = 1.0, count: int = 1, market: str = "m") -> bytes:
    return msgspec.json.encode(
        Signal(market, format_ms(start), format_ms(start + HOUR), count, value * count, value, 1.0)
    )


class Joined:
    """A partition of Job 3 under test; remembers the rows as Postgres would."""

    def __init__(self, rules: LagRules = RULES, **outcomes: str) -> None:
        self.state = LagState()
        self.rules = rules
        self.tracked = Tracked(outcomes)
        self.rows: dict[tuple[str, str], LagRow] = {}
        self._offset = 0

    def signals(self, *values: bytes, timestamp: int = ARRIVAL) -> LagOutputs:
        return self._take(fold_signals, values, timestamp)

    def prices(
        self, *values: dict[str, Any], timestamp: int = ARRIVAL, source: int = 0
    ) -> LagOutputs:
        checked = [msgspec.json.encode(msgspec.convert(value, Price)) for value in values]
        return self._take(fold_prices, checked, timestamp, source)

    def _take(self, rule: Any, values: Any, timestamp: int, source: int = 0) -> LagOutputs:
        records = []
        for value in values:
            headers = (
                (SOURCE_OFFSET, str(self._offset).encode()),
                (SOURCE_PARTITION, str(source).encode()),
            )
            records.append(Record(self._offset, value, timestamp=timestamp, headers=headers))
            self._offset += 1
        out: LagOutputs = rule(self.state, records, self.rules, self.tracked)
        for timed in out.rows:
            key = timed.row.market, timed.row.window
            if key not in self.rows or timed.row.version > self.rows[key].version:
                self.rows[key] = timed.row
        return out

    def row(self, start: int, market: str = "m") -> LagRow:
        return self.rows[market, format_ms(start)]


def test_a_first_window_has_no_delta_and_no_flag() -> None:
    """And the most careful confidence: nothing for the jump."""
    join = Joined()
    join.signals(signal(TEN, 9.0))
    row = join.row(TEN)
    assert (row.signal_delta, row.max_signal_delta, row.lag_flag) == (None, 0.0, False)
    assert (row.price, row.price_delta, row.stale) == (None, 0.0, None)
    assert row.confidence == 0.3 + 0.2


def test_lag_goes_to_the_previous_window_that_had_articles() -> None:
    """Empty hours between do not count; the largest delta so far is kept, this row included."""
    join = Joined()
    join.signals(signal(TEN, 1.0), signal(TEN + 5 * HOUR, 4.0), signal(TEN + 6 * HOUR, 3.5))
    assert join.row(TEN + 5 * HOUR).signal_delta == 3.0
    last = join.row(TEN + 6 * HOUR)
    assert (last.signal_delta, last.prev_rss_signal, last.max_signal_delta) == (-0.5, 4.0, 3.0)


def test_a_jump_without_a_move_is_a_lag() -> None:
    """Strictly more than the one threshold, strictly less than the other."""
    assert is_lag(1.1, None, 0.019, RULES)
    assert not is_lag(1.0, 9.0, 0.0, RULES)
    assert not is_lag(1.1, None, -0.02, RULES)
    assert not is_lag(None, None, 0.0, RULES)


@pytest.mark.parametrize(
    ("rule", "flags"),
    [
        ("absolute", [True, False, True, False]),
        ("relative", [False, True, True, False]),
        ("either", [True, True, True, False]),
    ],
)
def test_a_jump_can_be_judged_by_what_is_usual(rule: Any, flags: list[bool]) -> None:
    """The z-score has to be above its threshold; the price has to stand still all the same."""
    rules = LagRules(signal_rule=rule, zscore_threshold=3.0)
    jumps = [(1.1, 3.0), (0.1, 3.1), (1.1, 3.1), (1.0, None)]
    assert [is_lag(delta, zscore, 0.0, rules) for delta, zscore in jumps] == flags
    assert not any(is_lag(delta, zscore, 0.02, rules) for delta, zscore in jumps)


@pytest.mark.parametrize(
    ("delta", "largest", "move", "weight", "expected"),
    [
        (None, 0.0, 0.0, 1.0, 0.5),
        (-3.0, 0.0, 0.0, 1.0, 0.5),
        (2.0, 4.0, -0.5, 0.5, 0.25 + 0.15 + 0.1),
        (2.0, 2.0, 3.0, 7.0, 0.5 + 0.0 + 0.2),
        (2.0, 2.0, 0.0, -7.0, 0.5 + 0.3 + 0.0),
    ],
)
def test_confidence_is_between_0_and_1(
    delta: float | None, largest: float, move: float, weight: float, expected: float
) -> None:
    """Every factor is clamped to [0, 1]."""
    assert confidence(delta, largest, move, weight) == pytest.approx(expected)


def test_a_price_that_comes_later_replaces_the_row() -> None:
    """The version grows; detected_at is the newest record that went in."""
    join = Joined()
    join.signals(signal(TEN), timestamp=ARRIVAL)
    without = join.row(TEN)
    join.prices(price(TEN, 0.4, 0.05, prev_price=0.35), timestamp=ARRIVAL + 5)
    row = join.row(TEN)
    assert (row.price, row.price_delta, row.prev_price, row.stale) == (0.4, 0.05, 0.35, False)
    assert row.version > without.version
    assert row.detected_at == format_ms(ARRIVAL + 5)


def test_of_several_prices_fresh_beats_stale_then_the_latest_fetch_wins() -> None:
    """Then the later source offset; whatever the order in which they are read."""
    stale = price(TEN, 0.1, stale=True, fetched_at=format_ms(TEN + 50 * MINUTE))
    early = price(TEN, 0.2, fetched_at=format_ms(TEN + MINUTE))
    late = price(TEN, 0.3, fetched_at=format_ms(TEN + 2 * MINUTE))
    again = price(TEN, 0.4, fetched_at=format_ms(TEN + 2 * MINUTE))
    for order in ([stale, early, late, again], [late, stale, again, early]):
        join = Joined()
        join.signals(signal(TEN))
        versions = []
        for each in order:
            join.prices(each)
            versions.append(join.row(TEN).version)
        assert join.row(TEN).price == 0.4
        assert versions == sorted(versions)


def test_a_price_read_again_gives_the_same_version() -> None:
    """So that a log read twice changes no row."""
    fact = PriceFact(0.5, None, 0.0, False, 1, 7, ARRIVAL)
    assert better(fact, msgspec.structs.replace(fact, offset=99)) is fact
    other = msgspec.structs.replace(fact, price=0.6, offset=8)
    assert better(fact, other).tie == 1
    assert better(better(fact, other), fact).price == 0.6


def test_only_the_tracked_outcome_is_joined() -> None:
    """Outcomes compare case-folded; a market that is not listed tracks YES."""
    join = Joined(n="Up")
    join.signals(signal(TEN), signal(TEN, market="n"))
    join.prices(price(TEN, 0.2, outcome="NO"), price(TEN, 0.3, outcome="yes"))
    join.prices(
        price(TEN, 0.6, market_slug="n", outcome="YES"),
        price(TEN, 0.7, market_slug="n", outcome="UP"),
    )
    assert (join.row(TEN).price, join.row(TEN).outcome) == (0.3, "YES")
    assert (join.row(TEN, "n").price, join.row(TEN, "n").outcome) == (0.7, "Up")


def test_a_correction_changes_its_row_and_those_after_it() -> None:
    """LAG and max are carried on; all later rows get a greater version."""
    join = Joined()
    starts = [TEN, TEN + HOUR, TEN + 2 * HOUR]
    join.signals(
        *[signal(start, value) for start, value in zip(starts, (1.0, 3.0, 2.0), strict=True)]
    )
    before = [join.row(start) for start in starts]
    out = join.signals(signal(starts[1], 5.0, count=2))
    assert [timed.row.window for timed in out.rows] == [format_ms(start) for start in starts[1:]]
    after = [join.row(start) for start in starts]
    assert after[0] == before[0]
    assert (after[1].signal_delta, after[1].max_signal_delta) == (4.0, 4.0)
    assert (after[2].signal_delta, after[2].max_signal_delta) == (-3.0, 4.0)
    assert all(new.version > old.version for new, old in zip(after[1:], before[1:], strict=True))


def test_an_older_version_of_a_signal_does_not_replace_the_newer() -> None:
    """A replay repeats the smaller counts first; the row comes again, unchanged."""
    join = Joined()
    join.signals(signal(TEN, 2.0, count=2))
    row = join.row(TEN)
    out = join.signals(signal(TEN, 1.0, count=1))
    assert [timed.row for timed in out.rows] == [row]


def test_lag_starts_anew_after_more_than_seven_days() -> None:
    """Exactly seven days still carry LAG and max on."""
    join = Joined()
    second, third = TEN + 7 * DAY, TEN + 14 * DAY + HOUR
    join.signals(signal(TEN, 1.0), signal(second, 4.0), signal(third, 9.0))
    assert join.row(second).signal_delta == 3.0
    assert (join.row(third).signal_delta, join.row(third).max_signal_delta) == (None, 0.0)


def test_changes_on_both_sides_of_a_gap_come_out_together() -> None:
    """One batch, two runs of windows: no row is forgotten."""
    join = Joined()
    out = join.signals(signal(TEN), signal(TEN + 20 * DAY), signal(TEN + 20 * DAY + HOUR))
    assert len(out.rows) == 3


def test_a_record_older_than_the_ttl_of_its_own_topic_changes_nothing() -> None:
    """The other topic's clock has no say, so interleaving cannot matter."""
    join = Joined()
    join.signals(signal(TEN + 7 * DAY))
    assert join.signals(signal(TEN - HOUR)).late == 1
    assert join.signals(signal(TEN)).late == 0
    join.prices(price(TEN + 7 * DAY))
    out = join.prices(price(TEN - HOUR))
    assert (out.late, out.prices) == (1, {})


def test_prices_of_several_source_partitions_have_clocks_of_their_own() -> None:
    """Re-keying mixes logs that are read at their own pace; one must not make the other late."""
    join = Joined()
    days = [TEN + day * DAY for day in range(30)]
    join.signals(*[signal(day, market=market) for day in days for market in "mn"])
    assert join.prices(*[price(day) for day in days], source=0).late == 0
    out = join.prices(*[price(day, market_slug="n") for day in days], source=1)
    assert out.late == 0
    assert all(join.row(day, "n").price == 0.5 for day in days)
    assert join.prices(price(days[0]), source=0).late == 1


def test_the_oldest_window_held_keeps_what_it_carries() -> None:
    """Also when its own signal comes again, as after a reset of the offsets."""
    join = Joined()
    join.signals(*[signal(TEN + day * DAY, float(day)) for day in range(20)])
    expire(join.state, TEN + 19 * DAY, RULES.ttl)
    oldest = join.state.hours["m"].starts[0]
    last = join.row(TEN + 19 * DAY)
    join.state.signal_clock = -(2**62)
    assert join.signals(signal(oldest, 0.5)).late == 1
    join.signals(signal(TEN + 19 * DAY, 19.0))
    assert join.row(TEN + 19 * DAY) == last


def test_finer_windows_join_the_price_of_their_hour() -> None:
    """All four quarters of an hour get its price."""
    quarter = 15 * MINUTE
    join = Joined(LagRules(window=quarter))
    join.signals(*[signal(TEN + i * quarter) for i in range(5)])
    join.prices(price(TEN, 0.4))
    assert [join.row(TEN + i * quarter).price for i in range(5)] == [0.4, 0.4, 0.4, 0.4, None]


def test_price_at_window_end_joins_the_next_hour() -> None:
    """The reaction within the window's own hour; without it the row is out already."""
    join = Joined(LagRules(price_at_window_end=True))
    join.signals(signal(TEN))
    join.prices(price(TEN, 0.4), price(TEN + HOUR, 0.6))
    assert join.row(TEN).price == 0.6


def test_expiry_waits_for_both_committed_clocks_and_keeps_what_carries_on() -> None:
    """Prices go with the TTL; windows a day later, the newest of them another TTL later."""
    join = Joined()
    starts = [TEN + day * DAY for day in range(12)]
    join.signals(*[signal(start, float(index)) for index, start in enumerate(starts)])
    join.prices(*[price(start, 0.5) for start in starts])
    assert expire(join.state, -(2**62), RULES.ttl).hours == []
    gone = expire(join.state, starts[11], RULES.ttl)
    assert gone.prices == [("m", start) for start in starts[:4]]
    assert gone.hours == [("m", start) for start in starts[:2]]
    join.signals(signal(TEN + 12 * DAY, 12.0))
    kept = Joined()
    kept.signals(*[signal(TEN + day * DAY, float(day)) for day in range(13)])
    assert join.row(TEN + 12 * DAY) == msgspec.structs.replace(kept.row(TEN + 12 * DAY))


def test_expiry_forgets_a_market_that_went_quiet() -> None:
    """Nothing of it is left after two TTLs, a day and an hour."""
    join = Joined()
    join.signals(signal(TEN))
    assert expire(join.state, TEN + 14 * DAY, RULES.ttl).hours == []
    assert expire(join.state, TEN + 15 * DAY + 2 * HOUR, RULES.ttl).hours == [("m", TEN)]
    assert join.state.hours == {}


def test_an_expired_window_that_comes_again_does_not_cut_what_is_carried_on() -> None:
    """As when a log is read from the beginning without its commits."""
    join = Joined()
    join.signals(*[signal(TEN + day * DAY, float(day)) for day in range(20)])
    expire(join.state, TEN + 19 * DAY, RULES.ttl)
    restarted = LagState()
    for market, hours in join.state.hours.items():
        for fact in hours.facts:
            restarted.load_hour(market, fact)
    join.state = restarted
    last = join.row(TEN + 19 * DAY)
    assert join.signals(signal(TEN, 0.0)).late == 1
    join.signals(signal(TEN + 19 * DAY, 19.0))
    assert join.row(TEN + 19 * DAY) == last


def test_a_foreign_record_is_passed_over() -> None:
    """Only our own jobs write these topics; junk in them must not stop the worker."""
    join = Joined()
    out = join.signals(b"junk", signal(TEN))
    assert (len(out.refused), len(out.rows)) == (1, 1)
    assert len(fold_prices(join.state, [Record(0, b"{}")], RULES, Tracked()).refused) == 1


def test_facts_are_what_the_tables_need() -> None:
    """One per key, and enough to go on after a restart."""
    join = Joined()
    out = join.signals(signal(TEN, 1.0), signal(TEN + HOUR, 2.5, count=3))
    assert out.hours == {
        ("m", TEN): HourFact(TEN, 1, 1.0, 1.0, 1.0, ARRIVAL, 0.0, 1, ARRIVAL),
        ("m", TEN + HOUR): HourFact(TEN + HOUR, 3, 7.5, 2.5, 1.0, ARRIVAL, 1.5, 4, ARRIVAL),
    }
