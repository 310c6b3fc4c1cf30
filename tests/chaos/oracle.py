"""What has to come out, computed by the plain model from the partition logs as they are."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.chaos.workload import BAD
from tests.support import model

#: Logs by topic and partition.
Logs = Mapping[str, Mapping[int, Sequence[Any]]]
Coordinates = tuple[str, int, int]


class Expected(NamedTuple):
    """Everything that a run may leave behind.

    Attributes:
        rows: by market and window, all columns but ``created_at`` and ``updated_at``.
        prices: the same of ``price_hourly``, by market, outcome and hour.
        signals: each signal that may ever stand in ``rss.signals_hourly``.
        late: coordinates of the articles in ``rss.late``.
        refused: coordinates of the records in the DLQs.
        final_counts: articles never change in a row (there is no allowed lateness).
    """

    rows: dict[tuple[str, datetime], dict[str, Any]]
    prices: dict[tuple[str, str, datetime], dict[str, Any]]
    signals: set[tuple[Any, ...]]
    late: set[Coordinates]
    refused: set[Coordinates]
    final_counts: bool


def good(log: Sequence[Any]) -> list[Any]:
    return [record for record in log if not is_bad(record)]


def is_bad(record: Any) -> bool:
    return any(name == BAD for name, _ in record.headers)


def expected(
    *epochs: Logs,
    lateness: int,
    rules: model.Rules,
    cuts: Mapping[int, model.Cut] | None = None,
) -> Expected:
    """What the logs give; of several epochs (topics made anew) one after the other.

    *cuts*: by partition of ``rss.events``, what was deleted unread.
    """
    out = Expected({}, {}, set(), set(), set(), final_counts=lateness == 0)
    prices: dict[int, list[Any]] = {}
    emitted: dict[int, list[model.ModelSignal]] = {}
    for logs in epochs:
        for partition, log in logs[PRICE_HOURLY].items():
            prices.setdefault(partition, []).extend(good(log))
        for partition, log in logs[RSS_EVENTS].items():
            cut = (cuts or {}).get(partition)
            signals = model.signals_of(good(log), size=rules.size, lateness=lateness, cut=cut)
            emitted.setdefault(partition, []).extend(signals.emitted)
            out.late.update((RSS_EVENTS, partition, offset) for offset in signals.late)
        for topic in (RSS_EVENTS, PRICE_HOURLY):
            for partition, log in logs[topic].items():
                cut = (cuts or {}).get(partition) if topic == RSS_EVENTS else None
                out.refused.update(
                    (topic, partition, record.offset)
                    for record in log
                    if is_bad(record) and not (cut and cut.done <= record.offset < cut.offset)
                )
    logs_of_prices = [prices[partition] for partition in sorted(prices)]
    out.prices.update(
        ((market, outcome, at(hour)), {**row, "fetched_at": at(row["fetched_at"])})
        for (market, outcome, hour), row in model.price_rows(*logs_of_prices).items()
    )
    for signals in emitted.values():
        out.signals.update(signal_key(signal) for signal in signals)
        rows = model.rows_of(signals, *prices.values(), rules=rules)
        out.rows.update(
            ((market, at(start)), {"outcome": "YES", **row, "detected_at": at(row["detected_at"])})
            for (market, start), row in rows.items()
        )
    return out


def at(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def signal_key(signal: model.ModelSignal) -> tuple[Any, ...]:
    return tuple(signal)


def signal_of(record: Any) -> tuple[Any, ...]:
    """The same of a record in ``rss.signals_hourly``."""
    value = json.loads(record.value)
    return (
        value["market_slug"],
        model.ms(value["window_start"]),
        value["mention_count"],
        value["keyword_score"],
        value["source_weighted_signal"],
        value["source_weight_avg"],
        record.timestamp,
    )
