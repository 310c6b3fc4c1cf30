"""What a flag is worth: it says that the price stood still, so it takes a price to say it."""

from collections.abc import Iterable
from typing import Any, Literal, Protocol

PriceState = Literal["fresh", "stale", "missing"]


class Row(Protocol):
    """A row of ``lag_signals_history`` (asyncpg's ``Record`` is one)."""

    def __getitem__(self, name: str, /) -> Any: ...


def price_state(row: Row) -> PriceState:
    """Whether a lag row's price was asked for in its hour, carried on from one before, or none."""
    if row["price"] is None:
        return "missing"
    return "stale" if row["stale"] else "fresh"


def count_flagged(rows: Iterable[Row]) -> str:
    """``"5 flagged (1 on a stale price, 2 without a price)"``."""
    states = [price_state(row) for row in rows if row["lag_flag"]]
    said = [
        f"{states.count(state)} {what}"
        for state, what in (("stale", "on a stale price"), ("missing", "without a price"))
        if state in states
    ]
    return f"{len(states)} flagged" + (f" ({', '.join(said)})" if said else "")
