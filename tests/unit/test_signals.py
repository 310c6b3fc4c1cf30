"""Job 1, rule by rule: articles in, exact signals out."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketlag.event_time import DAY, HOUR, MINUTE, format_ms
from marketlag.rules.signals import (
    RecoveryPoint,
    SignalOutputs,
    SignalState,
    _emit_corrections,
    _take,
    fold,
)
from tests.support.logs import ARRIVAL, Record, article, at, heartbeat, log, record


def new_state(**options: Any) -> SignalState:
    return SignalState(**{"size": HOUR, "delay": 5 * MINUTE, **options})


def signals(state: SignalState, *values: Any, start: int = 0) -> list[tuple[str, str, int, float]]:
    """(market, window start, mentions, signal) in order of emission."""
    out = fold(state, log(*values, start=start))
    return [
        (
            s.signal.market_slug,
            s.signal.window_start,
            s.signal.mention_count,
            s.signal.source_weighted_signal,
        )
        for s in out.signals
    ]


TEN = format_ms(at("10:00"))


def test_a_window_closes_when_the_watermark_reaches_its_last_millisecond() -> None:
    """An article stamped 11:04:59.999 closes [10:00, 11:00); one stamped 11:04:59.998 does not."""
    state = new_state()
    assert signals(state, article(at("10:30")), article(at("11:04:59.998"))) == []
    assert signals(state, article(at("11:04:59.999")), start=2) == [("m", TEN, 1, 1.0)]


def test_an_article_at_the_end_of_a_window_belongs_to_the_next() -> None:
    """Windows are [start, end)."""
    state = new_state()
    assert signals(state, article(at("10:00")), article(at("11:00")), heartbeat(at("13:00"))) == [
        ("m", TEN, 1, 1.0),
        ("m", format_ms(at("11:00")), 1, 1.0),
    ]


def test_the_signal_is_the_mean_of_score_times_weight() -> None:
    """source_weighted_signal = AVG(score * weight), source_weight_avg = AVG(weight)."""
    state = new_state()
    out = fold(
        state,
        log(
            article(at("10:01"), keyword_score=4.0, source_weight=0.5),
            article(at("10:02"), keyword_score=-1.0, source_weight=1.0),
            heartbeat(at("12:00")),
        ),
    )
    [timed] = out.signals
    assert timed.signal.keyword_score == 3.0
    assert timed.signal.source_weighted_signal == 0.5
    assert timed.signal.source_weight_avg == 0.75
    assert timed.timestamp == ARRIVAL


def test_an_article_after_its_window_is_late_and_not_counted() -> None:
    """It goes to the late output, and moves nothing."""
    state = new_state()
    signals(state, article(at("10:30")), heartbeat(at("11:30")))
    out = fold(state, log(article(at("10:45")), start=2))
    assert [r.offset for r in out.late] == [2]
    assert out.signals == []


def test_an_old_article_of_an_open_window_is_welcome() -> None:
    """Even as the first of its window, even when the watermark has passed its own time."""
    state = new_state()
    values = [article(at("11:03")), article(at("10:10")), heartbeat(at("13:00"))]
    assert [row[1] for row in signals(state, *values)] == [TEN, format_ms(at("11:00"))]


def test_the_watermark_moves_after_its_record() -> None:
    """The article that closes windows is judged by the watermark before it."""
    state = new_state()
    assert signals(state, article(at("10:00")), article(at("20:00"))) == [("m", TEN, 1, 1.0)]


def test_an_article_id_counts_once_within_its_window_and_market() -> None:
    """Another market, another hour, and no id at all count again."""
    state = new_state()
    assert signals(
        state,
        article(at("10:01"), article_id="a"),
        article(at("10:02"), article_id="a", keyword_score=9.0),
        article(at("10:03"), "n", article_id="a"),
        article(at("10:04"), article_id=None),
        article(at("10:04"), article_id=""),
        article(at("11:01"), article_id="a"),
        heartbeat(at("13:00")),
    ) == [
        ("m", TEN, 3, 1.0),
        ("n", TEN, 1, 1.0),
        ("m", format_ms(at("11:00")), 1, 1.0),
    ]


def test_a_heartbeat_moves_time_and_is_counted_nowhere() -> None:
    """It needs a slug and a time only."""
    state = new_state()
    assert signals(state, heartbeat(at("10:30")), heartbeat(at("13:00"))) == []
    assert state.watermark == at("12:55")


BAD = {
    "not JSON": record(0, b"{"),
    "empty value": Record(0, None),
    "empty key": Record(0, b"{}", key=None),
    "bytes, more than": record(0, article(at("10:00"), summary="x" * 600_000)),
    "not UTF-8": record(0, b'{"market_slug": "\xff"}'),
    "missing required field `link`": record(
        0, {k: v for k, v in article(at("10:00")).items() if k != "link"}
    ),
    "Expected `float`, got `str`": record(0, article(at("10:00"), keyword_score="1.0")),
    "Expected `str`, got `int`": record(0, article(at("10:00"), title=7)),
    "without a zone": record(0, article("2025-01-01T10:00:00")),
    "not an ISO-8601 time": record(0, article("noon")),
    "more than 5 minutes later": record(0, article(ARRIVAL + 5 * MINUTE + 1)),
    "empty market_slug": Record(
        0,
        b'{"market_slug":"","title":"","link":"","published_at":'
        b'"2025-01-01T10:00:00Z","source_weight":1,"keyword_score":1}',
        key=b"m",
    ),
    "the key is not the market_slug": record(0, article(at("10:00")), key=b"other"),
    "maximum recursion depth": record(
        0,
        json.dumps(article(at("10:00"))).encode()[:-1]
        + b',"x":%b%b}' % (b"[" * 2_000, b"]" * 2_000),
    ),
    "beyond 1e+12": record(0, article(at("10:00"), keyword_score=-1e200)),
}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_refused_with_its_reason(reason: str) -> None:
    """It changes nothing else."""
    state = new_state()
    [refused] = fold(state, [BAD[reason]]).refused
    assert reason in refused.reason
    assert state.windows == {}


@pytest.mark.parametrize("reason", BAD)
def test_a_bad_record_is_refused_in_a_window_that_is_open(reason: str) -> None:
    """The loop's short way for such a window lets nothing through."""
    state = new_state()
    good = [record(1, article(at("10:00"))), record(2, article(at("10:01")))]
    [refused] = fold(state, [good[0], BAD[reason], good[1]]).refused
    assert reason in refused.reason
    [window] = state.windows.values()
    assert {key: each.count for key, each in window.aggregates.items()} == {b"m": 2}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_no_number_that_json_does_not_have(number: str) -> None:
    """NaN and infinities are refused, in whatever way they are written."""
    value = b'{"market_slug":"m","title":"","link":"","published_at":"2025-01-01T10:00:00Z",'
    value += f'"source_weight":1,"keyword_score":{number}}}'.encode()
    assert len(fold(new_state(), [record(0, value)]).refused) == 1


def test_five_minutes_ahead_of_arrival_is_the_limit() -> None:
    """Clocks differ a little; a time further ahead would close windows that are not over."""
    state = new_state()
    assert fold(state, log(article(ARRIVAL + 5 * MINUTE))).refused == []


def test_the_recovery_point_is_the_first_record_of_the_oldest_window_held() -> None:
    """With the watermark before it; what has been emitted is named, not read again."""
    state = new_state()
    signals(state, article(at("10:10")), article(at("11:02")), article(at("10:20")))
    assert state.recovery_point(3) == (0, RecoveryPoint(-(2**62), at("10:00"), 3))
    signals(state, article(at("11:30")), start=3)
    offset, point = state.recovery_point(4)
    assert offset == 1
    assert point == RecoveryPoint(at("10:05"), at("11:00"), 4)
    assert RecoveryPoint.parse(point.metadata()) == point


def test_without_open_windows_everything_is_done() -> None:
    """The offset is the position, the watermark the present one."""
    state = new_state()
    signals(state, article(at("10:10")), heartbeat(at("12:07")))
    assert state.recovery_point(2) == (2, RecoveryPoint(at("12:02"), at("12:00"), 2))


def test_a_replay_gives_the_same_windows_and_no_second_dlq_or_late_record() -> None:
    """Records before `done` have had their outputs; emitted windows are not emitted again."""
    records = log(
        article(at("10:10")),
        article(at("11:02")),
        article(at("11:30")),
        article(at("10:20")),
        b"junk",
        article(at("11:40")),
    )
    state = new_state()
    first = fold(state, records)
    assert (len(first.signals), len(first.late), len(first.refused)) == (1, 1, 1)
    offset, point = state.recovery_point(6)
    again = new_state(point=point)
    replayed = fold(again, records[offset:])
    assert (replayed.signals, replayed.late, replayed.refused) == ([], [], [])
    closing = [record(6, heartbeat(at("14:00")))]
    assert fold(again, closing).signals == fold(state, closing).signals


def test_a_replay_does_not_open_an_emitted_window_again() -> None:
    """Its first record lies before the recovery point, so it would come out incomplete."""
    records = log(
        article(at("10:10")), article(at("11:02")), article(at("10:20")), article(at("11:30"))
    )
    state = new_state()
    [whole] = fold(state, records).signals
    assert whole.signal.mention_count == 2
    offset, point = state.recovery_point(4)
    assert offset == 1
    assert fold(new_state(point=point), records[offset:]).signals == []


def test_a_replay_closes_a_correctable_window_by_the_same_record() -> None:
    """The watermark is that before the recovery point's record, not the newest one."""
    records = [
        record(0, article(at("10:30"))),
        record(1, heartbeat(at("11:30")), timestamp=ARRIVAL + 7),
        record(2, article(at("10:40")), timestamp=ARRIVAL + 9),
    ]
    state = new_state(lateness=HOUR)
    [_, corrected] = [s for r in records for s in fold(state, [r]).signals]
    offset, point = state.recovery_point(3)
    again = fold(new_state(lateness=HOUR, point=point), records[offset:])
    assert again.signals[-1] == corrected
    assert corrected.timestamp == ARRIVAL + 7


def test_allowed_lateness_corrects_a_closed_window() -> None:
    """The row comes again with one more article and the timestamp of its first closing."""
    state = new_state(lateness=30 * MINUTE)
    first = fold(
        state,
        [record(0, article(at("10:30"))), record(1, heartbeat(at("11:10")), timestamp=ARRIVAL + 1)],
    )
    assert [s.signal.mention_count for s in first.signals] == [1]
    second = fold(state, [record(2, article(at("10:40")), timestamp=ARRIVAL + 9)])
    assert [(s.signal.mention_count, s.timestamp) for s in second.signals] == [(2, ARRIVAL + 1)]
    # Watermark 11:29:59.999 is the window's last millisecond plus the lateness.
    third = fold(state, log(heartbeat(at("11:34:59.999")), article(at("10:50")), start=3))
    assert third.signals == []
    assert [r.offset for r in third.late] == [4]


def test_a_window_first_seen_after_its_close_is_emitted_at_once() -> None:
    """Within the allowed lateness."""
    state = new_state(lateness=HOUR)
    assert signals(state, heartbeat(at("11:30")), article(at("10:40"))) == [("m", TEN, 1, 1.0)]


def test_a_log_with_a_cut_start_gives_only_whole_windows() -> None:
    """No window that began before the first record; a later one is whole."""
    state = new_state(truncated=True)
    assert signals(
        state, article(at("10:30")), article(at("11:10")), heartbeat(at("13:00")), start=100
    ) == [("m", format_ms(at("11:00")), 1, 1.0)]


def test_records_lost_in_the_middle_take_their_windows_with_them() -> None:
    """What is held may lack some of them, so it is not emitted."""
    state = new_state()
    signals(state, article(at("10:30")))
    state.cut()
    assert signals(state, article(at("10:50")), heartbeat(at("12:30")), start=50) == []


def test_a_long_silence_closes_everything_in_order() -> None:
    """Windows come out by time, markets by name."""
    state = new_state()
    rows = signals(
        state,
        article(at("10:02"), "b"),
        article(at("10:03"), "a"),
        article(at("09:59"), "c"),
        heartbeat(at("10:00") + 3 * DAY),
    )
    assert [row[0] for row in rows] == ["c", "a", "b"]


def test_a_late_first_record_after_a_cut_does_not_make_old_windows_whole() -> None:
    """The job had read to 12:20 (watermark 12:15) when the records up to an article of 10:50 went.

    Any window up to the one after 12:00 may have lost some: the first that can be whole is 14:00.
    What is out makes its latecomer late, whatever the watermark in the commit.
    """
    point = RecoveryPoint(watermark=at("11:40"), emitted_through=at("12:00"), done=10)
    state = new_state(point=point, truncated=True)
    after = log(
        article(at("10:50")),
        article(at("12:30")),
        article(at("13:30")),
        article(at("14:00")),
        heartbeat(at("16:00")),
        start=20,
    )
    out = fold(state, after)
    assert [timed.signal.window_start for timed in out.signals] == [format_ms(at("14:00"))]
    assert [late.offset for late in out.late] == [20]


clocks = st.integers(0, 4 * 60).map(lambda minutes: at("10:00") + minutes * MINUTE)
odd_values = st.sampled_from(
    [
        None,
        b"",
        b"{}",
        b"\xff",
        json.dumps(heartbeat(at("12:30"))).encode(),
        json.dumps(article(at("11:00"), market="")).encode(),
        json.dumps(article(at("11:00"), market="__heartbeat__")).encode(),
        json.dumps(article(at("11:00"), keyword_score=1e13)).encode(),
        json.dumps(article("yesterday")).encode(),
    ]
)
usual_values = st.builds(
    lambda time, market, article_id, score: json.dumps(
        article(time, market=market, article_id=article_id, keyword_score=score)
    ).encode(),
    clocks,
    st.sampled_from(["m", "n"]),
    st.sampled_from([None, "", "a", "b", "c"]),
    st.sampled_from([0.1, 0.7, 3.0]),
)
# Of a record that arrived at 11:20, a time after 11:25 is refused.
arrivals = st.sampled_from([ARRIVAL, at("11:20")])
usual_rows = st.tuples(usual_values, st.sampled_from([b"m", b"n"]), arrivals)
odd_rows = st.tuples(odd_values | usual_values, st.sampled_from([b"m", b"n", None]), arrivals)
log_records = st.lists(usual_rows | usual_rows | odd_rows, max_size=40)


@settings(deadline=None, max_examples=300)
@given(log_records, st.sampled_from([0, 30 * MINUTE]), st.booleans())
def test_the_hot_loop_is_the_rule(
    rows: list[tuple[bytes | None, bytes | None, int]], lateness: int, truncated: bool
) -> None:
    """What ``fold`` does itself is what ``_take`` would have done with the same record."""
    quick, plain = (new_state(lateness=lateness, truncated=truncated) for _ in range(2))
    records = [Record(offset, *row) for offset, row in enumerate(rows)]
    expected = SignalOutputs()
    for each in records:
        _take(plain, each, expected)
    for window in plain.windows.values():
        _emit_corrections(window, plain, expected)
    assert fold(quick, records) == expected
    assert quick.recovery_point(len(rows)) == plain.recovery_point(len(rows))
