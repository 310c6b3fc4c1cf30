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


def _fetched(minute: int, value: float, **fields: Any) -> Row:
    """A price of the hour from 10:00, fetched at that minute of it."""
    return price(TEN, value, fetched_at=format_ms(TEN + minute * MINUTE), **fields)


DIFFERENCES = (
    # An article counts once in its window.
    Difference(
        "article-twice",
        [article(TEN, article_id="a", keyword_score=score) for score in (1.0, 4.0)],
        [],
        ("mention_count", "rss_signal"),
        flink=[(2, 2.5)],
        ours=[(1, 1.0)],
    ),
    # A price that was only carried on does not replace a real one.
    Difference(
        "stale-price-later",
        [article(TEN)],
        [_fetched(1, 0.4), _fetched(20, 0.5, stale=True)],
        ("price", "stale"),
        flink=[(0.5, True)],
        ours=[(0.4, False)],
    ),
    # Of two prices fetched at once the later record counts.
    Difference(
        "prices-fetched-at-once",
        [article(TEN)],
        [_fetched(1, 0.4), _fetched(1, 0.5)],
        ("price",),
        flink=[(0.4,)],
        ours=[(0.5,)],
    ),
    # After more than 7 days LAG and MAX start anew; Flink's TTL is of processing time.
    Difference(
        "gap-of-8-days",
        [article(TEN), article(at("10:00", day=9), keyword_score=3.0)],
        [],
        ("prev_rss_signal", "signal_delta", "max_signal_delta", "lag_flag"),
        flink=[(None, None, 0.0, False), (1.0, 2.0, 2.0, True)],
        ours=[(None, None, 0.0, False), (None, None, 0.0, False)],
    ),
    # A price more than 7 days behind its own log changes nothing.
    Difference(
        "price-8-days-late",
        [article(TEN)],
        [price(TEN + 8 * 24 * HOUR, 0.6), price(TEN, 0.4)],
        ("price",),
        flink=[(0.4,)],
        ours=[(None,)],
    ),
    # Another zone than Z is read; Flink's ISO-8601 is null there, and the article left out.
    Difference(
        "time-with-an-offset",
        [article(TEN), article("2025-01-01T11:30:00+01:00")],
        [],
        ("mention_count",),
        flink=[(1,)],
        ours=[(2,)],
    ),
    # An article of the future is refused; to Flink all that comes after it is late.
    Difference(
        "article-of-2031",
        [article(TEN), article("2031-01-01T00:00:00Z", "n"), article(TEN + MINUTE)],
        [],
        ("market", "mention_count"),
        flink=[("m", 1), ("n", 1)],
        ours=[("m", 2)],
    ),
    # An article without a score is refused. Flink counts it, and its average leaves it out.
    Difference(
        "article-without-a-score",
        [article(TEN), article(TEN, keyword_score=None)],
        [],
        ("mention_count", "rss_signal"),
        flink=[(2, 1.0)],
        ours=[(1, 1.0)],
    ),
)
