"""Heartbeats: the least over all sources that are not idle."""

import msgspec

from marketlag.event_time import MINUTE, format_ms, parse_ms
from marketlag.records import Poll
from marketlag.rules.polls import Beat, Polls
from tests.support.logs import Record

NOON = parse_ms("2026-08-01T12:00:00Z")
IDLE = 30 * MINUTE


def clocks(*feeds: str) -> Polls:
    return Polls({"rss": feeds}, {"rss": IDLE})


def poll(
    offset: int, source: str, polled: int, answered: int | None = None, *, never: int | None = None
) -> Record:
    """Minutes after noon; *never* is the first poll of a source that has not answered yet."""
    when = polled if answered is None else answered
    value = Poll(
        "rss",
        source,
        format_ms(NOON + polled * MINUTE),
        None if never is not None else format_ms(NOON + when * MINUTE),
        format_ms(NOON + (when if never is None else never) * MINUTE),
    )
    return Record(offset, msgspec.json.encode(value))


def beats(state: Polls, *records: Record) -> list[tuple[int | None, list[str], list[str]]]:
    return [
        (beat.time and (beat.time - NOON) // MINUTE, beat.idle, beat.back)
        for beat in state.fold(records)
    ]


def test_time_is_the_least_over_all_feeds() -> None:
    """And nothing is said before each of them was polled, nor twice."""
    state = clocks("a", "b")
    assert beats(state, poll(0, "a", 1)) == [(None, [], [])]
    assert beats(state, poll(1, "b", 2)) == [(1, [], [])]
    assert beats(state, poll(2, "b", 17)) == [(None, [], [])]
    assert beats(state, poll(3, "a", 16)) == [(16, [], [])]


def test_a_feed_that_does_not_answer_holds_time_back_and_then_falls_idle() -> None:
    """It comes back with its next answer."""
    state = clocks("a", "b")
    beats(state, poll(0, "a", 1), poll(1, "b", 1))
    assert beats(state, poll(2, "a", 16), poll(3, "b", 16, 1)) == [(None, [], [])]
    assert beats(state, poll(4, "a", 31), poll(5, "b", 31, 1)) == [(None, [], [])]
    assert beats(state, poll(6, "a", 46), poll(7, "b", 46, 1)) == [(46, ["b"], [])]
    assert beats(state, poll(8, "a", 61), poll(9, "b", 61, 1)) == [(61, [], [])]
    assert beats(state, poll(10, "b", 76)) == [(None, [], ["b"])]
    assert beats(state, poll(11, "a", 76)) == [(76, [], [])]


def test_a_feed_that_nobody_polls_is_waited_for_while_the_others_are_polled_three_times() -> None:
    state = clocks("a", "b")
    assert beats(state, poll(0, "a", 1), poll(1, "a", 16), poll(2, "a", 31)) == [(None, [], [])]
    assert beats(state, poll(3, "a", 46)) == [(46, ["b"], [])]
    assert beats(state, poll(4, "b", 50)) == [(None, [], ["b"])]
    log = [poll(5 + n, "a", 61 + 15 * n) for n in range(4)]
    assert beats(state, *log[:3]) == [(50, [], [])]
    assert beats(state, log[3]) == [(106, ["b"], [])]


def test_after_a_pause_of_everybody_nobody_is_idle() -> None:
    """The first to answer must not pass for the only one: the others have a backlog as well."""
    state = clocks("a", "b")
    beats(state, poll(0, "a", 0), poll(1, "b", 0))
    assert beats(state, poll(2, "a", 120)) == [(None, [], [])]
    assert beats(state, poll(3, "b", 121)) == [(120, [], [])]


def test_a_feed_that_has_never_answered_holds_time_back_and_then_falls_idle() -> None:
    """Its first poll is no answer: what it has to say about that hour is still to come."""
    state = clocks("a", "b")
    assert beats(state, poll(0, "a", 0), poll(1, "b", 0, never=0)) == [(None, [], [])]
    assert beats(state, poll(2, "a", 15), poll(3, "b", 15)) == [(15, [], [])]
    state = clocks("a", "b")
    assert beats(state, poll(0, "a", 45), poll(1, "b", 45, never=0)) == [(45, ["b"], [])]


def test_without_any_feed_that_answers_nothing_is_said() -> None:
    state = clocks("a")
    assert beats(state, poll(0, "a", 1, -60)) == [(None, ["a"], [])]


def test_sources_that_are_gone_from_the_file_do_not_count() -> None:
    assert beats(clocks("a"), poll(0, "gone", 0), poll(1, "a", 5)) == [(5, [], [])]


def test_kinds_have_their_own_clocks() -> None:
    state = Polls({"rss": ["a"], "prices": ["m"]}, {"rss": IDLE, "prices": IDLE})
    told = format_ms(NOON - MINUTE)
    price = Poll("prices", "m", format_ms(NOON), told, told)
    found = state.fold([poll(0, "a", 3), Record(1, msgspec.json.encode(price))])
    assert found == [
        Beat("rss", NOON + 3 * MINUTE, [], []),
        Beat("prices", NOON - MINUTE, [], []),
    ]


def test_the_recovery_point_is_the_oldest_of_the_newest_polls() -> None:
    """From there a restart says what would have been said; what is idle holds nothing back."""
    log = [
        poll(0, "b", 1),
        poll(1, "a", 1),
        poll(2, "b", 16),
        poll(3, "b", 31),
        poll(4, "a", 31),
        poll(5, "b", 46),
    ]
    state = clocks("a", "b")
    assert state.recovery_offset(9) == 9
    state.fold(log)
    assert state.recovery_offset(6) == 4
    again = clocks("a", "b")
    assert beats(again, *log[4:]) == [(31, [], [])]
    assert beats(again, poll(6, "a", 46)) == beats(state, poll(6, "a", 46)) == [(46, [], [])]


def test_what_is_not_a_poll_is_passed_over() -> None:
    state = clocks("a")
    rubbish = [Record(0, None), Record(1, b"{"), Record(2, b'{"kind": "rss"}')]
    assert beats(state, *rubbish, poll(3, "a", 1)) == [(1, [], [])]
