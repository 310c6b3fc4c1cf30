"""Where Flink's rows and ours differ on purpose: small inputs, and both outcomes."""

from typing import Any, NamedTuple

from bench.flink.ours import Rows
from bench.flink.runner import Row
from marketlag.event_time import MINUTE, format_ms
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
    Difference(
        "article-twice",
        [article(TEN, article_id="a"), article(TEN, article_id="a", keyword_score=4.0)],
        [],
        ("mention_count", "rss_signal"),
        flink=[(2, 2.5)],
        ours=[(1, 1.0)],
    ),
)
