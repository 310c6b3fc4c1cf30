"""Our rules over the same articles and prices as Flink."""

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from bench.flink.runner import Row
from marketlag.event_time import HOUR, parse_ms
from tests.support.logs import ARRIVAL, heartbeat, log, record
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
        times = [parse_ms(row["published_at"]) for row in rss]
        # A heartbeat ahead of its own arrival would be refused, as such an article is.
        newest = max(time for time in times if time <= ARRIVAL)
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
        if one is None or other is None:
            return f"  {'found' if other is None else 'missing'}: {_text(one or other)}"
        names = [name for name in one | other if _text(one.get(name)) != _text(other.get(name))]
        if names:
            columns = [f"{name} {one.get(name)!r}, wanted {other.get(name)!r}" for name in names]
            return f"  {'; '.join(columns)}\n  in {_text(other)}"
    return None


def _text(value: object) -> str:
    """A double has here the digits that give it back, and 0.0 and -0.0 are apart."""
    return json.dumps(value)
