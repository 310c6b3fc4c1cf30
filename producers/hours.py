"""The prices of an hour, from what was known and what was answered. Pure.

An hour's price is what the outcome cost when the hour began. An hour without an answer carries the
last price on and says so (``stale``): a price that nobody gave is not a price that stood still.
"""

from collections.abc import Mapping

from marketlag.event_time import HOUR, format_ms
from marketlag.records import Price
from producers.state import OutcomePrice

#: Prices have at most a few decimals; without this 0.29 - 0.27 would be less than 0.02.
DELTA_DIGITS = 9
#: Hours that a pause of the producers may leave behind and that are filled with stale prices.
MAX_CARRIED_HOURS = 7 * 24


def delta(price: float, before: float) -> float:
    return round(price - before, DELTA_DIGITS)


def prices_of_hour(
    slug: str,
    outcome: str,
    known: OutcomePrice | None,
    answered: float | None,
    *,
    hour: int,
    fetched_at: int,
) -> tuple[list[Price], OutcomePrice | None]:
    """The records to publish for an outcome, and what is known after it.

    *answered* is the price that was answered, ``None`` if there was none; *hour* the start of the
    present hour, and *fetched_at* when it was asked (both ms).

    A price is published once. A stale one is replaced by one that was answered within the hour;
    ``price_delta`` is against the last price before, and 0 at first.
    """
    if known is None:
        if answered is None:
            return [], None
        first = _record(slug, outcome, answered, None, hour=hour, fetched_at=fetched_at)
        return [first], OutcomePrice(price=answered, fresh_hour=hour, told_hour=hour)
    if known.fresh_hour >= hour:
        return [], known
    told = max(known.told_hour + HOUR, hour - MAX_CARRIED_HOURS * HOUR)
    last_stale = hour if answered is None else hour - HOUR
    records = [
        _record(
            slug,
            outcome,
            known.price,
            known.price,
            hour=carried,
            fetched_at=fetched_at,
            stale=True,
        )
        for carried in range(told, last_stale + 1, HOUR)
    ]
    if answered is None:
        return records, OutcomePrice(
            price=known.price, fresh_hour=known.fresh_hour, told_hour=max(known.told_hour, hour)
        )
    records.append(_record(slug, outcome, answered, known.price, hour=hour, fetched_at=fetched_at))
    return records, OutcomePrice(price=answered, fresh_hour=hour, told_hour=hour)


def history_of(
    slug: str, outcome: str, prices: Mapping[int, float], before: float | None
) -> list[Price]:
    """Records of past hours (ms). ``fetched_at`` is the hour itself: any live price is newer."""
    records = []
    for hour in sorted(prices):
        records.append(_record(slug, outcome, prices[hour], before, hour=hour, fetched_at=hour))
        before = prices[hour]
    return records


def _record(
    slug: str,
    outcome: str,
    price: float,
    before: float | None,
    *,
    hour: int,
    fetched_at: int,
    stale: bool = False,
) -> Price:
    return Price(
        market_slug=slug,
        outcome=outcome,
        price=price,
        prev_price=before,
        price_delta=0.0 if before is None else delta(price, before),
        event_time=format_ms(hour),
        fetched_at=format_ms(fetched_at),
        stale=stale,
    )
