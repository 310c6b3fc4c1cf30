"""Job 2: a hourly price is checked, clamped and re-keyed by its market. It has no state."""

from collections.abc import Iterable

import msgspec

from marketlag.event_time import HOUR, format_ms, parse_ms
from marketlag.records import (
    MAX_AHEAD_MS,
    LogRecord,
    Price,
    Refusal,
    Refused,
    readable,
    too_far_ahead,
    undecodable,
)

#: A price this far outside [0, 1] is rounding in the source, and clamped; further out it is wrong.
TOLERANCE = 0.1

_decode = msgspec.json.Decoder(Price).decode


class CheckedPrice(msgspec.Struct, frozen=True):
    """A price fit for the join, and the record it came from."""

    price: Price
    record: LogRecord


class PriceOutputs(msgspec.Struct):
    prices: list[CheckedPrice] = msgspec.field(default_factory=list)
    refused: list[Refused] = msgspec.field(default_factory=list)


def check(record: LogRecord) -> Price:
    """Decode one record of ``polymarket.price_hourly``. Raises ``Refusal``."""
    value = readable(record)
    try:
        price = _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise Refusal(undecodable(exc)) from None
    if not price.market_slug:
        raise Refusal("empty market_slug")
    if not price.outcome:
        raise Refusal("empty outcome")
    if not -TOLERANCE <= price.price <= 1 + TOLERANCE:
        raise Refusal(f"price {price.price} is not a probability")
    hour = _time("event_time", price.event_time, record)
    if hour % HOUR:
        # It could join no window; the original's equality join drops it without a word.
        raise Refusal("event_time is not on the hour")
    fetched = _time("fetched_at", price.fetched_at or price.event_time, record)
    price.price = min(1.0, max(0.0, price.price))
    price.price_delta = price.price_delta or 0.0
    price.event_time = format_ms(hour)
    price.fetched_at = format_ms(fetched)
    return price


def _time(name: str, text: str, record: LogRecord) -> int:
    try:
        time_ms = parse_ms(text)
    except ValueError as exc:
        raise Refusal(f"{name} is {exc}") from None
    if time_ms > record.timestamp + MAX_AHEAD_MS:
        raise too_far_ahead(name)
    return time_ms


def check_all(records: Iterable[LogRecord]) -> PriceOutputs:
    """Check a batch of ``polymarket.price_hourly``."""
    out = PriceOutputs()
    for record in records:
        try:
            out.prices.append(CheckedPrice(check(record), record))
        except Refusal as exc:
            out.refused.append(Refused(record, str(exc)))
    return out
