"""A flag on a stale or a missing price is told apart."""

from typing import Any

from marketlag.commands.demo import shown_price
from marketlag.flags import count_flagged, price_state


def row(price: float | None, stale: bool | None, flag: bool = True) -> Any:
    return {"price": price, "stale": stale, "lag_flag": flag}


FRESH, STALE, MISSING = row(0.45, False), row(0.45, True), row(None, None)


def test_the_state_of_a_price() -> None:
    assert [price_state(each) for each in (FRESH, STALE, MISSING)] == ["fresh", "stale", "missing"]


def test_flags_are_counted_apart() -> None:
    assert count_flagged([FRESH, FRESH, row(0.5, True, flag=False)]) == "2 flagged"
    assert count_flagged([FRESH, STALE, MISSING, MISSING]) == (
        "4 flagged (1 on a stale price, 2 without a price)"
    )
    assert count_flagged([]) == "0 flagged"


def test_flags_are_shown_apart() -> None:
    assert [shown_price(each) for each in (FRESH, STALE, MISSING)] == [
        "0.450",
        "0.450 stale",
        "none",
    ]
