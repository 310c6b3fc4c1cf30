"""Our rules over the same articles and prices as Flink."""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from bench.flink.runner import Row
from marketlag.event_time import HOUR, parse_ms
from tests.support.logs import heartbeat, log, record
from tests.support.simulation import Simulation

#: Columns of ``lag_signals`` that the SQL does not have.
ONLY_OURS = {"signal_zscore", "detected_at", "version"}


class Rows(NamedTuple):
    """The rows of ``rss.signals_hourly`` and ``lag_signals``, by market and window."""

    signals: list[Row]
    lags: list[Row]


def ours(rss: Sequence[Row], prices: Sequence[Row], *, stays_open: bool) -> Rows:
    """What the rules make of one partition; unless it stays open, every window closes."""
    articles = log(*rss)
    if not stays_open:
        newest = max(parse_ms(row["published_at"]) for row in rss)
        articles.append(record(len(articles), heartbeat(newest + 3 * HOUR)))
    simulation = Simulation(articles, log(*prices))
    simulation.finish()
    signals = [msgspec.json.decode(each.value or b"") for each in simulation.job1.signals]
    rows = [msgspec.structs.asdict(row) for _, row in sorted(simulation.job3.rows.items())]
    return Rows(
        by_window(signals),
        [{name: row[name] for name in row if name not in ONLY_OURS} for row in rows],
    )


def by_window(signals: Iterable[Row]) -> list[Row]:
    return sorted(signals, key=lambda row: (row["market_slug"], row["window_start"]))


def difference(found: Sequence[Row], wanted: Sequence[Row]) -> str | None:
    """The first row that differs, in any bit of any number; ``None`` if all are the same."""
    for one, other in itertools.zip_longest(found, wanted):
        if _text(one) != _text(other):
            return f"  found  {_text(one)}\n  wanted {_text(other)}"
    return None


def _text(row: Row | None) -> str:
    """Python writes a double with the digits that give it back, and 0.0 and -0.0 apart."""
    return str(msgspec.json.encode(row, order="sorted").decode())
