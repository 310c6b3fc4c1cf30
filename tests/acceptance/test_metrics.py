"""Every metric of a worker at work moves as it should; those documented are those there are."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from marketlag import metrics
from marketlag.application import app, settings
from marketlag.event_time import HOUR, MINUTE
from marketlag.metrics import Reading
from marketlag.topics import changelog
from tests.support.busy import (
    HOURS,
    MARKETS,
    PER_HOUR,
    Busy,
    Scrape,
    busy_worker,
    partition,
)
from tests.support.services import StoppablePostgres, new_database, query

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
ROWS = len(MARKETS) * HOURS


@pytest.fixture(scope="module")
def server() -> Iterator[StoppablePostgres]:
    with StoppablePostgres() as found:
        yield found


def rows_written(dsn: str) -> int:
    return int(query(dsn, "SELECT count(*) FROM lag_signals_history")[0][0])


def test_every_metric_moves_as_it_should(server: StoppablePostgres, tmp_path: Path) -> None:
    """Before, between and after a load; while Postgres is away; while Kafka is slow."""
    dsn = new_database(server.dsn, "metrics")
    seen: set[str] = set()
    with busy_worker(dsn, tmp_path) as busy:
        ready(busy, seen)
        open_windows(busy, seen)
        closed_windows(busy, dsn, seen)
        trouble(busy, dsn, seen)
        postgres_away(busy, server, seen)
        slow_kafka(busy, seen)
        silence(busy, seen)
        only_what_is_declared(busy.scrape())
    assert seen == set(families())


def check(seen: set[str], scrape: Scrape, name: str, **labels: str) -> float:
    """The value of a metric, which is thereby looked at."""
    base = re.sub(r"(_total|_sum|_count|_info)$", "", name)
    assert base in families(), base
    seen.add(base)
    return scrape.total(name, **labels)


def ready(busy: Busy, seen: set[str]) -> None:
    """Partitions are there, the feeds are polled, nothing is counted yet."""
    busy.wait_for(lambda: busy.get("/readyz").status_code == 200)
    polled = "marketlag_fetches_total"
    busy.wait_for(
        lambda: (
            {"ok", "not_modified", "failed"}
            <= {dict(labels)["outcome"] for labels in busy.scrape().labels(polled)}
        )
    )
    scrape = busy.wait_for(lambda: idle(busy.scrape()))
    away = f"{busy.server.url}/away"
    assert check(seen, scrape, "marketlag_build_info") == 1
    assert check(seen, scrape, "marketlag_ready") == 1
    assert check(seen, scrape, "marketlag_partitions_assigned", topic="rss.events") == 3
    assert check(seen, scrape, polled, source=busy.feed, outcome="ok") == 1
    assert check(seen, scrape, polled, source=away, outcome="failed") >= 1
    assert check(seen, scrape, "marketlag_fetch_failures_in_a_row", source=away) >= 1
    assert scrape.total("marketlag_fetch_failures_in_a_row", source=busy.feed) == 0
    assert check(seen, scrape, "marketlag_fetch_seconds_count", kind="feed") >= 3
    assert check(seen, scrape, "marketlag_sources_idle", kind="rss") == 1
    assert 0 <= check(seen, scrape, "marketlag_feed_staleness_seconds", feed=busy.feed) < 30
    assert scrape.total("marketlag_lag_rows_total") == 0
    assert scrape.total("marketlag_records_refused_total", reason="undecodable") == 0


def idle(scrape: Scrape) -> Scrape | None:
    """A scrape that knows of the feed that is away and of the one that is not."""
    known = scrape.labels("marketlag_sources_idle") and scrape.labels(
        "marketlag_feed_staleness_seconds"
    )
    return scrape if known and scrape.so_far("marketlag_sources_idle", kind="rss") == 1 else None


def open_windows(busy: Busy, seen: set[str]) -> None:
    """Articles are counted and held; the watermark is where the newest of them puts it."""
    before = busy.scrape()
    busy.send_prices()
    sent = busy.send_articles()
    received = "marketlag_records_received_total"
    labels = {"agent": "rss_signals", "topic": "rss.events"}
    was = before.so_far(received, **labels)
    busy.wait_for(lambda: busy.scrape().so_far(received, **labels) >= was + sent)
    busy.wait_for(lambda: busy.scrape().so_far(received, agent="prices") >= ROWS)
    scrape = busy.scrape()
    assert check(seen, scrape, received, agent="prices") >= ROWS
    assert check(seen, scrape, "marketlag_chunk_records_sum", agent="rss_signals") >= sent
    assert check(seen, scrape, "marketlag_chunk_seconds_sum", agent="rss_signals") > 0
    # Each market's last hour waits for its end.
    assert check(seen, scrape, "marketlag_windows_open") == len(MARKETS)
    place = {"topic": "rss.events", "partition": partition(busy.settings, "fed")}
    newest = busy.hour(HOURS - 1) + (PER_HOUR - 1) * MINUTE
    watermark = check(seen, scrape, "marketlag_watermark_timestamp_seconds", **place)
    assert watermark == (newest - 5 * MINUTE) / 1_000
    distance = check(seen, scrape, "marketlag_watermark_distance_seconds", **place)
    assert distance == pytest.approx(time.time() - watermark, abs=5)
    delays = "marketlag_article_delay_seconds"
    assert check(seen, scrape, f"{delays}_sum") > 10 * HOUR / 1_000


def closed_windows(busy: Busy, dsn: str, seen: set[str]) -> None:
    """Every hour is a row, one of each market is flagged and told, and nothing waits."""
    busy.close_hours(HOURS)
    busy.wait_for(lambda: rows_written(dsn) == ROWS)
    told = "marketlag_notifications_total"
    busy.wait_for(lambda: busy.scrape().so_far(told, outcome="sent") == len(MARKETS))
    assert busy.server.asked["/desk"] == len(MARKETS)
    scrape = busy.wait_for(lambda: settled(busy.scrape()))
    assert check(seen, scrape, "marketlag_lag_rows_total", flagged="true") >= len(MARKETS)
    assert scrape.total("marketlag_lag_rows_total") >= ROWS
    assert check(seen, scrape, told, outcome="sent") == len(MARKETS)
    assert check(seen, scrape, "marketlag_records_sent_total", agent="rss_signals") >= ROWS
    assert scrape.total("marketlag_records_sent_total", topic="lag_signals") >= ROWS
    table = {"table": "lag_signals_history"}
    assert check(seen, scrape, "marketlag_sink_rows_total", **table) >= ROWS
    assert scrape.total("marketlag_sink_rows_total", table="price_hourly") >= ROWS
    assert check(seen, scrape, "marketlag_sink_batch_rows_sum", **table) >= ROWS
    assert check(seen, scrape, "marketlag_sink_write_seconds_count", **table) >= 1
    # The closing record was in Kafka a moment ago; the oldest window ended hours ago.
    assert check(seen, scrape, "marketlag_row_delay_seconds_sum", since="completed") < 60
    assert scrape.total("marketlag_row_delay_seconds_sum", since="window_end") > 5 * HOUR / 1_000
    assert check(seen, scrape, "marketlag_commits_total", outcome="done") >= 1
    assert check(seen, scrape, "marketlag_flush_seconds_count") >= 1


def settled(scrape: Scrape) -> Scrape | None:
    return (
        scrape if scrape.total("marketlag_consumer_lag_records", topic="lag_signals") == 0 else None
    )


def trouble(busy: Busy, dsn: str, seen: set[str]) -> None:
    """Each record that is not counted is counted as what it is."""
    before = busy.scrape()
    busy.send_trouble()
    refused = "marketlag_records_refused_total"

    def rises(by: float, name: str, **labels: str) -> None:
        wanted = before.so_far(name, **labels) + by
        busy.wait_for(lambda: busy.scrape().so_far(name, **labels) >= wanted)
        assert busy.scrape().total(name, **labels) == wanted

    rises(1, refused, topic="rss.events", reason="undecodable")
    rises(1, refused, topic="polymarket.price_hourly", reason="unusable")
    rises(1, refused, topic="lag_signals", reason="undecodable")
    rises(1, "marketlag_records_late_total", agent="rss_signals")
    fenced = "marketlag_duplicates_fenced_total"
    rises(1, fenced, kind="article")
    rises(busy.send_rows_again(), fenced, kind="row")
    assert rows_written(dsn) == ROWS
    seen |= {"marketlag_records_refused", "marketlag_records_late", "marketlag_duplicates_fenced"}


def postgres_away(busy: Busy, server: StoppablePostgres, seen: set[str]) -> None:
    """Rows wait, upserts are tried again, the lag grows older; then everything is as before."""
    before = busy.scrape()
    server.pause()
    busy.close_hours(HOURS + 2)
    waiting = {"table": "lag_signals_history"}
    # The article sent twice has closed its hour.
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_sink_rows_waiting", **waiting) >= 1)
    lag = {"topic": "lag_signals", "partition": partition(busy.settings, "fed")}
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_consumer_lag_records", **lag) >= 1)
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_consumer_lag_seconds", **lag) > 1)
    retries = "marketlag_sink_retries_total"
    busy.wait_for(lambda: busy.scrape().so_far(retries) > before.so_far(retries))
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_ready") == 0)
    server.resume()
    scrape = busy.wait_for(lambda: settled(busy.scrape()))
    assert check(seen, scrape, "marketlag_sink_rows_waiting", **waiting) == 0
    assert check(seen, scrape, "marketlag_consumer_lag_seconds", **lag) == 0
    assert check(seen, scrape, "marketlag_consumer_lag_records", **lag) == 0
    assert check(seen, scrape, retries) > 0
    busy.wait_for(lambda: busy.scrape().so_far("marketlag_ready") == 1)


def slow_kafka(busy: Busy, seen: set[str]) -> None:
    """While Kafka takes two seconds for an answer, a commit waits."""
    age = "marketlag_commit_age_seconds"
    busy.broker.slow_down(2_000)
    busy.close_hours(HOURS + 3)
    busy.wait_for(lambda: check(seen, busy.scrape(), age) > 0.5)
    busy.broker.slow_down(0)
    busy.wait_for(lambda: busy.scrape().so_far(age) == 0)


def silence(busy: Busy, seen: set[str]) -> None:
    """With nothing but heartbeats of yesterday, the watermark is overdue more and more."""
    overdue = "marketlag_watermark_overdue_seconds"
    busy.wait_for(lambda: check(seen, busy.scrape(), overdue, partition="0") > 2)


def only_what_is_declared(scrape: Scrape) -> None:
    """Each agent has worked through what it reads, and sent to what it writes."""
    app.discover()
    for name, sample, declare in (
        ("reads", "marketlag_records_received_total", lambda part: part.reads),
        ("writes", "marketlag_records_sent_total", lambda part: part.writes),
    ):
        known = {(part.name, topic) for part in app.parts for topic in declare(part)}
        logs = {
            (part.name, changelog(settings, table)) for part in app.parts for table in part.tables
        }
        found = {tuple(value for _, value in labels) for labels in scrape.labels(sample)}
        assert found <= known | logs, name
        unseen = {(agent, topic) for agent, topic in known - found if agent != "producers"}
        # Only Postgres refuses a price; and nobody has polled a new hour.
        assert unseen <= {("sink_prices", "dlq.polymarket.price_history")}, name


def declared() -> list[tuple[Any, Any]]:
    """Our collectors as the code declares them, each with what it gives."""
    collectors = list(metrics.REGISTRY._collector_to_names)
    return [
        (collector, family)
        for collector in collectors
        if hasattr(collector, "describe")
        for family in collector.describe()
        if family.name.startswith("marketlag_")
    ]


def families() -> list[str]:
    """Names without the suffixes of their types."""
    return [family.name for _, family in declared()]


def documented() -> list[tuple[str, ...]]:
    """Name, type and labels of each row of the document's tables of metrics."""
    rows = re.findall(
        r"^\| `(marketlag_\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT.read_text(), re.MULTILINE
    )
    return [(name, kind, labels.replace("`", "")) for name, kind, labels in rows]


def test_the_documented_metrics_are_those_there_are() -> None:
    """With their types and labels, in the order of the code."""
    wanted = []
    for collector, family in declared():
        suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        labels = collector.labels if isinstance(collector, Reading) else collector._labelnames
        wanted.append((family.name + suffix, kind, ", ".join(labels)))
    assert documented() == wanted


def test_names_follow_the_conventions() -> None:
    """Base units, a unit or a thing counted at the end, no label without a bound."""
    for name in families():
        assert re.fullmatch(r"marketlag_[a-z_]+", name)
        assert not re.search(r"_(ms|milliseconds|minutes|hours)(_|$)", name), name
    allowed = {
        *("agent", "topic", "partition", "reason", "kind", "outcome", "table", "source"),
        *("feed", "channel", "flagged", "since", "version"),
    }
    used = {label for _, _, labels in documented() for label in labels.split(", ") if label}
    assert used <= allowed
