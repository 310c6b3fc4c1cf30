"""Job 2: an hourly price is checked, clamped and re-keyed by its market.

Its only state is the clock of the log, the newest event time so far. Re-keying mixes logs that are
read at different paces, so each price takes the clock of its own log along.
"""

from collections.abc import Iterable

import msgspec

from marketlag.event_time import BEGINNING, HOUR, format_ms, parse_ms
from marketlag.records import (
    HEARTBEAT,
    MAX_AHEAD_MS,
    UNDECODABLE,
    LogRecord,
    Price,
    PriceClock,
    PriceRow,
    Refusal,
    Refused,
    readable,
    refused,
    too_far_ahead,
    undecodable,
)

#: A price this far outside [0, 1] is rounding in the source, and clamped; further out it is wrong.
TOLERANCE = 0.1

_decode = msgspec.json.Decoder(Price).decode
_decode_heartbeat = msgspec.json.Decoder(PriceClock).decode


class CheckedPrice(msgspec.Struct, frozen=True):
    """A price fit for the join, the record it came from, and its log's clock with it (ms)."""

    price: Price
    record: LogRecord
    clock: int


class PriceOutputs(msgspec.Struct):
    """``clock``: of the log, after the batch (ms)."""

    clock: int
    prices: list[CheckedPrice] = msgspec.field(default_factory=list)
    refused: list[Refused] = msgspec.field(default_factory=list)


def check(record: LogRecord) -> tuple[Price | None, int]:
    """Decode one record of ``polymarket.price_hourly``.

    Returns the price (``None`` for a heartbeat) and its event time. Raises ``Refusal``.
    """
    value = readable(record)
    try:
        price = _decode(value)
    except UNDECODABLE as exc:
        return None, _read_heartbeat(record, value, exc)
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
    return price, hour


def _read_heartbeat(record: LogRecord, value: bytes, why: Exception) -> int:
    try:
        heartbeat = _decode_heartbeat(value)
    except UNDECODABLE:
        raise undecodable(why) from None
    if heartbeat.market_slug != HEARTBEAT:
        raise undecodable(why)
    return _time("event_time", heartbeat.event_time, record)


def _time(name: str, text: str, record: LogRecord) -> int:
    try:
        time_ms = parse_ms(text)
    except ValueError as exc:
        raise Refusal(f"{name} is {exc}") from None
    if time_ms > record.timestamp + MAX_AHEAD_MS:
        raise too_far_ahead(name)
    return time_ms


def check_all(records: Iterable[LogRecord], clock: int = BEGINNING) -> PriceOutputs:
    """Check a batch of ``polymarket.price_hourly``; *clock* is the log's before it (ms)."""
    out = PriceOutputs(clock)
    for record in records:
        try:
            price, time = check(record)
        except Refusal as exc:
            out.refused.append(refused(record, exc))
            continue
        out.clock = max(out.clock, time)
        if price is not None:
            out.prices.append(CheckedPrice(price, record, out.clock))
    return out


def row_of(checked: CheckedPrice, partition: int) -> PriceRow:
    """The row of ``price_hourly``: of several for an hour the same one wins as in the join.

    *partition* is that of ``polymarket.price_hourly``.
    """
    price = checked.price
    fetched_at = price.fetched_at or price.event_time
    return PriceRow(
        market=price.market_slug,
        outcome=price.outcome,
        outcome_key=price.outcome.casefold(),
        hour=price.event_time,
        price=price.price,
        prev_price=price.prev_price,
        price_delta=price.price_delta or 0.0,
        stale=price.stale,
        fetched_at=fetched_at,
        version=(1 if price.stale else 2, parse_ms(fetched_at), checked.record.offset, partition),
    )
