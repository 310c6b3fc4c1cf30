"""Where Flink's rows and ours differ on purpose: small inputs, and both outcomes."""

from typing import Any, NamedTuple

from bench.flink.ours import Rows
from bench.flink.runner import Row
from marketlag.event_time import HOUR, MINUTE, format_ms
from tests.support.logs import article, at, price


class Difference(NamedTuple):
    """``flink`` and ``ours`` are the *columns* of the lag rows, by market and window."""

    name: str
    rss: list[Row]
    prices: list[Row]
    columns: tuple[str, ...]
    flink: list[tuple[Any, ...]]
    ours: list[tuple[Any, ...]]
    stays_open: bool = False

    def columns_of(self, rows: Rows) -> list[tuple[Any, ...]]:
        return [tuple(row[name] for name in self.columns) for row in rows.lags]


TEN = at("10:00")

DIFFERENCES = (
    # At least once is what producers promise, so an id counts once within its window.
    Difference(
        "article-twice",
        [article(TEN, article_id="a"), article(TEN, article_id="a", keyword_score=4.0)],
        [],
        ("mention_count", "rss_signal"),
        flink=[(2, 2.5)],
        ours=[(1, 1.0)],
    ),
    # A price that was only carried on does not replace one that somebody gave.
    Difference(
        "stale-price-fetched-later",
        [article(TEN)],
        [
            price(TEN, 0.45, 0.06, fetched_at=format_ms(TEN + MINUTE)),
            price(TEN, 0.40, 0.0, fetched_at=format_ms(TEN + 9 * MINUTE), stale=True),
        ],
        ("price", "price_delta", "stale"),
        flink=[(0.40, 0.0, True)],
        ours=[(0.45, 0.06, False)],
    ),
    # A TTL of event time; Flink's is of processing time, in which a week is read in a moment.
    Difference(
        "eight-quiet-days",
        [article(at("10:00", day=1)), article(at("10:00", day=9), keyword_score=4.0)],
        [],
        ("rss_signal", "signal_delta", "lag_flag"),
        flink=[(1.0, None, False), (4.0, 3.0, True)],
        ours=[(1.0, None, False), (4.0, None, False)],
    ),
    # One article stamped far ahead of its arrival would make every later one late.
    Difference(
        "article-from-the-future",
        [
            article(TEN),
            article("2031-01-01T00:00:00Z"),
            article(TEN + MINUTE),
            article(TEN + 2 * HOUR),
        ],
        [],
        ("window", "mention_count"),
        flink=[("2025-01-01T10:00:00Z", 1)],
        ours=[("2025-01-01T10:00:00Z", 2)],
        stays_open=True,
    ),
)
