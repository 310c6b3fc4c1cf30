"""The prices of an hour."""

from marketlag.event_time import HOUR, format_ms, parse_ms
from marketlag.records import Price
from producers.hours import history_of, prices_of_hour
from producers.state import OutcomePrice

TEN = parse_ms("2026-08-01T10:00:00Z")


def told(
    known: OutcomePrice | None, answered: float | None, hour: int
) -> tuple[list[tuple[str, float, float | None, float | None, bool]], OutcomePrice | None]:
    records, after = prices_of_hour("m", "Yes", known, answered, hour=hour, fetched_at=hour + 5_000)
    return [
        (r.event_time[11:13], r.price, r.prev_price, r.price_delta, r.stale) for r in records
    ], after


def test_the_first_price_has_no_delta() -> None:
    records, after = prices_of_hour("m", "Yes", None, 0.5, hour=TEN, fetched_at=TEN + 5_000)
    assert records == [
        Price(
            market_slug="m",
            outcome="Yes",
            price=0.5,
            price_delta=0.0,
            event_time="2026-08-01T10:00:00Z",
            fetched_at="2026-08-01T10:00:05Z",
        )
    ]
    assert after == OutcomePrice(price=0.5, fresh_hour=TEN, told_hour=TEN)


def test_the_delta_is_against_the_hour_before_and_exact() -> None:
    """0.29 - 0.27 is 0.019999999999999962 in binary, which is not less than a cent twice."""
    _, known = told(None, 0.27, TEN)
    records, _ = told(known, 0.29, TEN + HOUR)
    assert records == [("11", 0.29, 0.27, 0.02, False)]


def test_a_price_is_told_once() -> None:
    _, known = told(None, 0.5, TEN)
    assert told(known, 0.6, TEN) == ([], known)


def test_an_hour_without_an_answer_carries_the_price_on_and_says_so() -> None:
    _, known = told(None, 0.5, TEN)
    records, known = told(known, None, TEN + HOUR)
    assert records == [("11", 0.5, 0.5, 0.0, True)]
    assert told(known, None, TEN + HOUR) == ([], known)


def test_an_answer_within_the_hour_replaces_the_stale_price() -> None:
    """Its delta is against the last price that was answered."""
    _, known = told(None, 0.5, TEN)
    _, known = told(known, None, TEN + HOUR)
    records, known = told(known, 0.55, TEN + HOUR)
    assert records == [("11", 0.55, 0.5, 0.05, False)]
    assert known == OutcomePrice(price=0.55, fresh_hour=TEN + HOUR, told_hour=TEN + HOUR)


def test_hours_that_were_slept_through_are_stale() -> None:
    _, known = told(None, 0.5, TEN)
    records, _ = told(known, 0.6, TEN + 3 * HOUR)
    assert records == [
        ("11", 0.5, 0.5, 0.0, True),
        ("12", 0.5, 0.5, 0.0, True),
        ("13", 0.6, 0.5, 0.1, False),
    ]


def test_of_a_long_sleep_a_week_is_filled() -> None:
    _, known = told(None, 0.5, TEN)
    records, _ = told(known, None, TEN + 1_000 * HOUR)
    assert len(records) == 7 * 24 + 1


def test_nothing_known_and_nothing_answered_is_nothing() -> None:
    assert told(None, None, TEN) == ([], None)


def test_history_is_older_than_any_live_price_of_its_hour() -> None:
    records = history_of("m", "Yes", {TEN + HOUR: 0.6, TEN: 0.5}, 0.4)
    assert [(r.event_time, r.fetched_at, r.price_delta, r.stale) for r in records] == [
        (format_ms(TEN), format_ms(TEN), 0.1, False),
        (format_ms(TEN + HOUR), format_ms(TEN + HOUR), 0.1, False),
    ]
    assert history_of("m", "Yes", {TEN: 0.5}, None)[0].price_delta == 0.0
