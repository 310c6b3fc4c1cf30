"""Job 2, rule by rule."""

import msgspec
import pytest

from marketlag.event_time import HOUR, MINUTE, format_ms
from marketlag.records import Price
from marketlag.rules.prices import check_all
from tests.support.logs import ARRIVAL, at, log, price, record

TEN = at("10:00")


@pytest.mark.parametrize(
    ("given", "kept"), [(-0.1, 0.0), (-0.001, 0.0), (0.3, 0.3), (1.0, 1.0), (1.1, 1.0)]
)
def test_a_price_a_little_outside_is_clamped(given: float, kept: float) -> None:
    """Rounding in the source is no reason to lose an hour."""
    [checked] = check_all(log(price(TEN, given))).prices
    assert checked.price.price == kept


def test_a_good_price_keeps_its_fields() -> None:
    """A null delta is 0, times come out in UTC; the source record goes along."""
    given = price(
        TEN, 0.4, None, prev_price=0.39, stale=True, event_time="2025-01-01T12:00:00+02:00"
    )
    [checked] = check_all(log(given, start=7)).prices
    assert checked.price == Price(
        market_slug="m",
        outcome="YES",
        price=0.4,
        prev_price=0.39,
        price_delta=0.0,
        event_time=format_ms(TEN),
        fetched_at=format_ms(TEN + MINUTE),
        stale=True,
    )
    assert checked.record.offset == 7


def test_a_price_without_a_fetch_time_was_fetched_at_its_hour() -> None:
    """It loses to every price that says when it was fetched."""
    value = {k: v for k, v in price(TEN).items() if k != "fetched_at"}
    [checked] = check_all(log(value)).prices
    assert checked.price.fetched_at == format_ms(TEN)


def test_a_price_takes_its_logs_clock_along() -> None:
    """The newest time up to and with it, whatever its batch; a heartbeat moves it and is no price.

    A refused record moves nothing.
    """
    beat = {"market_slug": "__heartbeat__", "event_time": format_ms(TEN + 7)}
    given = log(
        price(TEN), price(TEN - HOUR), price(TEN + HOUR, 9.0), record(3, beat, key=b"b"),
        price(TEN - HOUR, 0.1),
    )  # fmt: skip
    out = check_all(given, TEN - HOUR)
    assert [checked.clock for checked in out.prices] == [TEN, TEN, TEN + 7]
    assert out.clock == TEN + 7
    assert [checked.clock for checked in check_all(given[4:], TEN + 7).prices] == [TEN + 7]


@pytest.mark.parametrize(
    ("reason", "value"),
    [
        ("not a probability", price(TEN, 1.7)),
        ("not a probability", price(TEN, -0.11)),
        ("Expected `float`, got `str`", price(TEN, price="0.5")),
        ("not JSON", b"nope"),
        ("missing required field", {"market_slug": "m"}),
        ("not on the hour", price(TEN + 1)),
        ("event_time is more than 5 minutes later", price(at("00:00") + 10**12)),
        ("fetched_at is more than", price(TEN, fetched_at=format_ms(ARRIVAL + 301_000))),
        ("fetched_at is a time without a zone", price(TEN, fetched_at="2025-01-01T10:00:00")),
        ("missing required field", {"market_slug": "m", "event_time": format_ms(TEN)}),
        ("event_time is", {"market_slug": "__heartbeat__", "event_time": "noon"}),
        ("empty outcome", price(TEN, outcome="")),
        ("empty market_slug", b'{"market_slug":"","outcome":"YES","price":0.5,"event_time":"x"}'),
    ],
)
def test_a_bad_price_is_refused_with_its_reason(
    reason: str, value: dict[str, object] | bytes
) -> None:
    """The good ones around it are not touched."""
    out = check_all([record(0, price(TEN)), record(1, value, key=b"k"), record(2, price(TEN))])
    assert [checked.record.offset for checked in out.prices] == [0, 2]
    assert [refused.record.offset for refused in out.refused] == [1]
    assert reason in out.refused[0].reason


def test_a_checked_price_decodes_as_it_was_sent() -> None:
    """Job 3 reads what Job 2 wrote."""
    [checked] = check_all(log(price(TEN, 0.25, 0.01))).prices
    assert msgspec.json.decode(msgspec.json.encode(checked.price), type=Price) == checked.price
