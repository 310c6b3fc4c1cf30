"""The 24 hours before a window: what is usual, and how far a signal lies above it."""

from statistics import fmean, pstdev
from typing import Any

import pytest
from faust import HoppingWindow
from hypothesis import given
from hypothesis import strategies as st

from marketlag.event_time import DAY, HOUR, MINUTE
from marketlag.rules.baseline import Baseline, baseline_of, zscore
from marketlag.rules.facts import LagState
from marketlag.rules.lags import LagRules, Tracked, fold_prices
from tests.support.logs import at, log, price
from tests.unit.test_lags import Joined, signal

TEN = at("10:00")


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_a_baseline_is_mean_and_population_deviation(signals: list[float]) -> None:
    """As the standard library has them."""
    found = baseline_of(signals)
    assert found.count == len(signals)
    assert found.mean == pytest.approx(fmean(signals), abs=1e-6)
    assert found.deviation == pytest.approx(pstdev(signals), rel=1e-9, abs=1e-6)


@given(st.floats(-1e12, 1e12), st.integers(1, 50))
def test_equal_signals_have_no_deviation_at_all(value: float, count: int) -> None:
    """The mean of three times 0.1 is not 0.1 in binary; dividing by what is left would be noise."""
    assert baseline_of([value] * count) == Baseline(count, value, 0.0)
    assert zscore(value + 1, baseline_of([value] * count)) is None


def test_no_zscore_below_three_windows() -> None:
    """It would say nothing."""
    assert zscore(9.0, baseline_of([1.0, 2.0])) is None
    assert zscore(4.0, baseline_of([1.0, 2.0, 3.0])) == pytest.approx(2.0 / (2 / 3) ** 0.5)


def test_the_baseline_is_the_hopping_window_that_ends_where_the_window_begins() -> None:
    """Its first hour counts, the hour before that and the window itself do not."""
    join = Joined()
    start = TEN + DAY
    values = {TEN - HOUR: 99.0, TEN: 1.0, TEN + HOUR: 2.0, start - HOUR: 3.0, start: 4.0}
    out = join.signals(*[signal(at_, value) for at_, value in values.items()])
    assert out.baselines["m", start] == Baseline(3, 2.0, (2 / 3) ** 0.5, mentions=5)
    assert join.row(start).signal_zscore == pytest.approx(2.0 / (2 / 3) ** 0.5)


@pytest.mark.parametrize("size", [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR])
def test_it_holds_the_windows_that_faust_and_flink_put_into_it(size: int) -> None:
    """By the hops that Faust assigns, of which one ends where each window begins."""
    join = Joined(LagRules(window=size))
    starts = [TEN + index * size * step for step in (1, 7, 100) for index in range(5)]
    out = join.signals(*[signal(start, 1.0 + start % 7) for start in sorted(set(starts))])
    hop = HoppingWindow(DAY / 1000, size / 1000)
    for (_, start), baseline in out.baselines.items():
        ending_here = hop.current((start - DAY) / 1000)
        inside = [each for each in set(starts) if ending_here in hop.ranges(each / 1000)]
        assert baseline.count == len(inside)
        assert ending_here[0] == (start - DAY) / 1000


def test_a_correction_changes_the_baselines_of_the_24_hours_after_it_and_no_other() -> None:
    """Among them the last one that it still belongs to."""
    join = Joined()
    hours = [TEN + n * HOUR for n in range(60)]
    join.signals(*[signal(hour, float(n % 5)) for n, hour in enumerate(hours)])
    before = {hour: join.state.hours["m"].baselines[hour].mean for hour in hours}
    out = join.signals(signal(hours[20], 9.0, count=2))
    after = {hour: join.state.hours["m"].baselines[hour].mean for hour in hours}
    assert [hour for hour in hours if after[hour] != before[hour]] == hours[21:45]
    assert [start for _, start in out.baselines] == hours[20:]
    assert [each.mentions for each in out.baselines.values()] == list(range(22, 62))


def test_a_baseline_that_lags_behind_its_window_is_not_believed() -> None:
    """As after a crash between the two tables' changelogs, with a price read before the rest."""
    hours = [TEN + n * HOUR for n in range(6)]
    values = [1.0, 1.1, 0.9, 1.0, 1.1, 2.0]
    whole = Joined()
    whole.signals(*[signal(hour, value) for hour, value in zip(hours, values, strict=True)])
    before = dict(whole.state.hours["m"].baselines)
    whole.signals(signal(hours[1], 5.0, count=2))
    crashed = LagState()
    for fact in whole.state.hours["m"].facts:
        crashed.load_hour("m", fact)
    for start, baseline in before.items():
        crashed.load_baseline("m", start, baseline)
    whole.prices(price(hours[5], 0.4))
    [timed] = fold_prices(crashed, log(price(hours[5], 0.4)), whole.rules, Tracked()).rows
    assert timed.row == whole.row(hours[5])


def test_a_price_that_comes_later_leaves_the_zscore_alone() -> None:
    """And the baseline: it is made of signals."""
    join = Joined()
    join.signals(*[signal(TEN + n * HOUR, float(n * n)) for n in range(5)])
    before = join.row(TEN + 4 * HOUR).signal_zscore
    out = join.prices(price(TEN + 4 * HOUR, 0.4))
    assert (out.baselines, join.row(TEN + 4 * HOUR).signal_zscore) == ({}, before)


def test_a_baseline_does_not_look_past_where_lag_starts_anew() -> None:
    """With a TTL under a day: older windows are gone, or about to go."""
    join = Joined(LagRules(ttl=2 * HOUR))
    hours = [TEN, TEN + HOUR, TEN + 2 * HOUR, TEN + 5 * HOUR, TEN + 6 * HOUR]
    out = join.signals(*[signal(hour) for hour in hours])
    assert [out.baselines["m", hour].count for hour in hours] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("rule", "flagged"), [("absolute", [5, 12]), ("relative", [12]), ("either", [5, 12])]
)
def test_a_noisy_market_has_to_jump_further_by_the_relative_rule(
    rule: Any, flagged: list[int]
) -> None:
    """A delta of 1.5 is a jump where nothing ever happens, and none where 3 is usual."""
    join = Joined(LagRules(signal_rule=rule, zscore_threshold=3.0))
    values = [0.0, 2.0, 0.5, 1.0, 0.0, 1.5, 0.0, 0.9, 0.1, 1.0, 0.6, 1.0, 5.0]
    join.signals(*[signal(TEN + n * HOUR, value) for n, value in enumerate(values)])
    rows = [join.row(TEN + n * HOUR) for n in range(len(values))]
    assert [n for n, row in enumerate(rows) if row.lag_flag and n > 1] == flagged
