"""Finer windows, corrections and the price at the window's end, through a real worker."""

import asyncio
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import MINUTE
from marketlag.replay.inputs import Outgoing
from marketlag.replay.run import Replay
from marketlag.settings import Settings, milliseconds
from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.chaos import audit
from tests.chaos.oracle import expected
from tests.support import model, workload
from tests.support.kafka.client import Client
from tests.support.logs import article, at
from tests.support.services import pipeline, query, worker

Rows = dict[tuple[Any, ...], dict[str, Any]]


def articles(seed: int) -> list[Outgoing]:
    """Six hours of four markets; one in seven articles comes 12 or 25 minutes late."""
    rng = random.Random(seed)
    sent = []
    for index in range(1_200):
        published = at("00:00") + index * 18_000
        arrives = published + rng.choice([0] * 12 + [12 * MINUTE, 25 * MINUTE])
        value = article(
            published,
            rng.choice(workload.MARKETS[:4]),
            article_id=f"id-{index}",
            keyword_score=rng.randrange(0, 12) / 2,
            source_weight=rng.choice([0.5, 0.75, 1.0]),
        )
        sent.append((arrives, workload.outgoing(value)))
    return [each for _, each in sorted(sent, key=lambda pair: pair[0])]


class Running(NamedTuple):
    settings: Settings
    worker: WorkerProcess
    client: Client

    def feed(
        self, news: list[Outgoing], prices: list[Outgoing] | None = None, *, flush: bool = False
    ) -> Rows:
        """Send, and wait; the rows in Postgres."""
        replaying = Replay(self.settings, check=self.worker.check)
        asyncio.run(replaying.run(news, prices or [], flush=flush))
        return audit.rows(self.settings.postgres_dsn.get_secret_value())

    def expected(self) -> Rows:
        """The rows that the plain model makes of the logs as they are."""
        logs = self.client.logs([RSS_EVENTS, PRICE_HOURLY], self.settings.partitions)
        rules = model.Rules(
            size=milliseconds(self.settings.window), price_at=self.settings.price_at
        )
        lateness = milliseconds(self.settings.allowed_lateness)
        return dict(expected(logs, lateness=lateness, rules=rules).rows)


@contextmanager
def running(dsn: str, folder: Path, **chosen: str) -> Iterator[Running]:
    with (
        pipeline(dsn, partitions=2, **chosen) as settings,
        worker(settings, folder) as process,
        Client(settings) as client,
    ):
        yield Running(settings, process, client)


def assert_same(found: Rows, wanted: Rows) -> None:
    """Equal to the bit; only a z-score's last digits depend on how it is summed."""
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        zscores = [each.pop("signal_zscore") for each in (found[key], row)]
        assert found[key] == row
        assert zscores[0] == zscores[1] or math.isclose(*zscores, rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("window", "price_at"), [("1m", "window_start"), ("5m", "window_end"), ("15m", "window_start")]
)
def test_finer_windows_give_the_rows_of_the_plain_model(
    database: str, tmp_path: Path, window: str, price_at: str
) -> None:
    """With corrections half an hour late: LAG between windows, the hour's price, 24 h baseline."""
    with running(
        database, tmp_path, window=window, allowed_lateness="30m", price_at=price_at
    ) as run:
        found = run.feed(articles(seed=len(window)), workload.prices(8), flush=True)
        assert_same(found, run.expected())
    assert len(found) > {"1m": 800, "5m": 250, "15m": 80}[window]
    assert any(row["price"] is not None for row in found.values())


def test_a_late_article_corrects_its_row_and_those_after_it_alone(
    database: str, tmp_path: Path
) -> None:
    """Not an older row, not another market's; not even written again."""
    with running(database, tmp_path, window="15m", allowed_lateness="2h") as run:
        before = run.feed(articles(seed=1), workload.prices(8))
        stamps = written(database)
        first = at("04:30")
        late = article(first + MINUTE, "market-1", article_id="late", keyword_score=99.0)
        after = run.feed([workload.outgoing(late)])
        assert_same(after, run.expected())
    starts = [start for market, start in before if market == "market-1"]
    changed = {key for key, stamp in written(database).items() if stamp != stamps[key]}
    assert {market for market, _ in changed} == {"market-1"}
    assert sorted(start.timestamp() * 1000 for _, start in changed) == sorted(
        start.timestamp() * 1000 for start in starts if start.timestamp() * 1000 >= first
    )
    corrected = min(changed)
    assert after[corrected]["mention_count"] == before[corrected]["mention_count"] + 1


def written(dsn: str) -> dict[tuple[str, Any], Any]:
    rows = query(dsn, 'SELECT market, "window", updated_at FROM lag_signals_history')
    return {(row["market"], row["window"]): row["updated_at"] for row in rows}


def test_a_row_does_not_wait_for_the_price_at_its_end(database: str, tmp_path: Path) -> None:
    """It is there without one, and is replaced when the next hour's price comes."""
    with running(database, tmp_path, price_at="window_end") as run:
        without = run.feed(articles(seed=2), flush=True)
        assert_same(without, run.expected())
        assert {row["price"] for row in without.values()} == {None}
        found = run.feed([], workload.prices(8))
        assert_same(found, run.expected())
        prices = audit.prices(database)
    after_an_hour = {
        key: prices[key[0], "yes", key[1] + timedelta(hours=1)]["price"]
        for key, row in found.items()
        if row["price"] is not None
    }
    assert len(after_an_hour) > 15
    assert all(found[key]["price"] == price for key, price in after_an_hour.items())
