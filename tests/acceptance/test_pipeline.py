"""Workers as processes, on an embedded broker and a real Postgres, with things going wrong."""

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from marketlag import kafka
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import DAY, HOUR, MINUTE, format_ms, from_datetime
from marketlag.migrate import migrate
from marketlag.replay.inputs import Outgoing
from marketlag.replay.progress import Progress
from marketlag.replay.run import Replay
from marketlag.settings import Settings
from marketlag.topics import LAG_SIGNALS, RSS_EVENTS, RSS_SIGNALS
from tests.support import workload
from tests.support.logs import article, at, heartbeat
from tests.support.services import (
    StoppablePostgres,
    new_database,
    pipeline,
    query,
    ready_worker,
    table,
    wait_for_log,
    worker,
)

#: What differs between two runs over the same articles: times of arrival and of writing.
CLOCK = ("created_at", "updated_at", "detected_at")


def moved_by_days(sent: Outgoing, days: int) -> Outgoing:
    """The same article, days later, under an id of its own."""
    value = json.loads(sent.value)
    assert sent.time is not None
    value["published_at"] = format_ms(sent.time + days * DAY)
    return workload.outgoing(value)


def replay(
    settings: Settings,
    running: WorkerProcess,
    articles: Sequence[Outgoing],
    prices: Sequence[Outgoing],
    **options: Any,
) -> Replay:
    replaying = Replay(settings, check=running.check, **options)
    asyncio.run(replaying.run(articles, prices, flush=True))
    return replaying


@pytest.fixture(scope="module")
def calm(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The rows of the workload when nothing goes wrong."""
    dsn = new_database(postgres, "calm")
    with (
        pipeline(dsn) as settings,
        worker(settings, tmp_path_factory.mktemp("calm")) as running,
    ):
        replay(settings, running, workload.articles(4_000), workload.prices(24))
    rows = everything(dsn)
    assert len(rows) > 400
    return rows


def best_prices(dsn: str) -> list[dict[str, Any]]:
    """``price_hourly``; published anew, the same prices have later offsets."""
    return table(dsn, "price_hourly", without=("updated_at", "version"))


def everything(dsn: str) -> list[dict[str, Any]]:
    """The rows of both tables of results."""
    tables = ("lag_signals_history", "price_hourly")
    return [row for name in tables for row in table(dsn, name, without=CLOCK)]


def test_poison_goes_to_the_dlq_and_nothing_else_is_lost(database: str, tmp_path: Path) -> None:
    """10,000 records, 500 of them bad: the same rows as without, a reason for each, no restart."""
    good_articles, good_prices = workload.articles(9_000), workload.prices(50)
    bad_articles, bad_prices = workload.bad_articles(400), workload.bad_prices(100)
    with pipeline(database) as settings, worker(settings, tmp_path / "w") as running:
        poisoned = replay(
            settings,
            running,
            workload.mixed(good_articles, bad_articles),
            workload.mixed(good_prices, bad_prices),
        )
        running.check()
    rows = table(database, without=CLOCK)
    reasons = list(poisoned.refused.values())
    assert len(reasons) == 500
    assert all(reasons)
    assert len({reason.split(",")[0] for reason in reasons}) >= 12
    assert running.log.read_text().count("Worker ready") == 1
    clean = new_database(database, f"clean_{running.process.pid}")
    with pipeline(clean) as settings, worker(settings, tmp_path / "w2") as running:
        replay(settings, running, good_articles, good_prices)
    assert table(clean, without=CLOCK) == rows


def test_a_second_replay_into_the_full_database_changes_no_row(
    database: str, tmp_path: Path
) -> None:
    """Neither on the same broker, where everything is late now, nor on a new one."""
    articles, prices = workload.articles(2_000), workload.prices(12)
    with pipeline(database) as settings, worker(settings, tmp_path / "w") as running:
        replay(settings, running, articles, prices)
        before = table(database), best_prices(database)
        replay(settings, running, articles, prices)
        assert (table(database), best_prices(database)) == before
    with pipeline(database) as settings, worker(settings, tmp_path / "w2") as running:
        replay(settings, running, articles, prices)
    assert (table(database), best_prices(database)) == before


def test_two_workers_share_the_partitions(
    database: str, tmp_path: Path, calm: list[dict[str, Any]]
) -> None:
    """The rows are the same, and each of the two has done a part."""
    with (
        pipeline(database, session_timeout="6s") as settings,
        ready_worker(settings, tmp_path / "a") as first,
        ready_worker(settings, tmp_path / "b") as second,
    ):
        replay(settings, first, workload.articles(4_000), workload.prices(24))
        second.check()
        states = [list((tmp_path / name).rglob("rss_hours-*.db")) for name in "ab"]
    assert everything(database) == calm
    assert all(states)


def test_a_killed_worker_is_replaced_and_the_rows_are_the_same(
    database: str, tmp_path: Path, calm: list[dict[str, Any]]
) -> None:
    """SIGKILL with windows open in memory, then in mid-work.

    The second worker finds its local state corrupt, the last one has none: both rebuild it from the
    changelog.
    """
    articles, prices = workload.articles(4_000), workload.prices(24)
    with pipeline(database, session_timeout="6s") as settings:
        with worker(settings, tmp_path / "a") as first:
            asyncio.run(
                Replay(settings, check=first.check).run(articles[:2_500], prices, flush=False)
            )
            first.kill()
        assert 0 < len(table(database)) < len(calm)
        first.log.unlink()
        for path in (tmp_path / "a").rglob("CURRENT"):
            path.write_text("junk")
        with worker(settings, tmp_path / "a") as second:
            asyncio.run(send(settings, articles[2_500:3_500]))
            wait_for_log(second, "Worker ready")
            assert "rebuilding it from the changelog" in second.log.read_text()
            second.kill()
        with worker(settings, tmp_path / "b") as third:
            replay(settings, third, articles[3_500:], [])
    assert everything(database) == calm


async def send(settings: Settings, articles: Sequence[Outgoing]) -> None:
    async with kafka.producer(settings) as producer:
        for each in articles:
            await producer.send(RSS_EVENTS, each.value, key=each.key)


def test_sigterm_ends_the_worker_in_good_order(database: str, tmp_path: Path) -> None:
    """Rows that wait for their batch are written before it goes, within 10 s; the code is 0."""
    with (
        pipeline(database, sink_max_wait="1h", sink_max_rows=10_000) as settings,
        worker(settings, tmp_path / "w") as running,
    ):
        waiting = asyncio.run(rows_waiting_for_their_batch(settings))
        assert table(database) == []
        assert running.stop(timeout=10.0) == 0
        assert len(table(database)) == waiting > 0
        assert asyncio.run(unread(settings)) == 0


def test_sigterm_does_not_wait_for_a_postgres_that_is_away(tmp_path: Path) -> None:
    """Not even with the sink's buffer full; the rows stay in Kafka for the next worker."""
    with StoppablePostgres() as server:
        migrate(server.dsn)
        with pipeline(server.dsn, sink_max_rows=1) as settings:
            server.pause()
            with worker(settings, tmp_path / "w") as running:
                waiting = asyncio.run(rows_waiting_for_their_batch(settings))
                assert waiting > 20
                assert running.stop(timeout=10.0) == 0
            assert asyncio.run(unread(settings)) == waiting
            server.resume()
            with worker(settings, tmp_path / "w") as running:
                replay(settings, running, [], [])
        assert len(table(server.dsn)) == waiting


async def rows_waiting_for_their_batch(settings: Settings) -> int:
    """Send articles; return how many rows came of them, once all are in the sink's topic."""
    await send(settings, workload.articles(600))
    closing = workload.outgoing(heartbeat(at("23:00")))
    async with kafka.producer(settings) as producer:
        for partition in range(settings.partitions):
            await producer.send_and_wait(RSS_EVENTS, closing.value, key=b"h", partition=partition)
    async with kafka.admin(settings) as admin, kafka.consumer(settings) as consumer:
        progress = Progress(settings, admin, consumer)
        while await progress.unread(RSS_EVENTS, RSS_SIGNALS):
            await asyncio.sleep(0.1)
        extents = await progress.extents(LAG_SIGNALS)
        return sum(extent.end for extent in extents.values())


async def unread(settings: Settings) -> int:
    async with kafka.admin(settings) as admin, kafka.consumer(settings) as consumer:
        return await Progress(settings, admin, consumer).unread(LAG_SIGNALS)


def test_the_run_outlives_a_postgres_that_is_away(tmp_path: Path) -> None:
    """Absent at the start, then stopped for 20 s in mid-run: it completes by itself."""
    first, second = workload.articles(3_000), workload.articles(500, seed=1, per_hour=50)
    later = [moved_by_days(each, 3) for each in second]
    with StoppablePostgres() as server:
        migrate(server.dsn)
        with pipeline(server.dsn) as settings, worker(settings, tmp_path / "w") as running:
            for articles, outage in ((first, 3.0), (later, 20.0)):
                server.pause()
                back = threading.Timer(outage, server.resume)
                back.start()
                replaying = replay(settings, running, articles, [])
                back.join()
                rows = table(server.dsn)
                assert {
                    (row["market"], format_ms(from_datetime(row["window"]))) for row in rows
                } >= (replaying.signals.keys())
            assert running.log.read_text().count("Worker ready") == 1


def test_a_log_whose_start_is_gone_gives_only_whole_windows(database: str, tmp_path: Path) -> None:
    """The embedded broker drops what exceeds 5 MB; the worker says so and emits what is whole."""
    rng = random.Random(3)
    articles = [
        article(at("00:00") + index * MINUTE, "m", summary="x" * 30_000, keyword_score=rng.random())
        for index in range(600)
    ]
    log = [workload.outgoing(value) for value in articles]
    closing = workload.outgoing(heartbeat(at("23:00")))
    with pipeline(database, partitions=1) as settings:
        asyncio.run(send(settings, [*log, closing]))
        with worker(settings, tmp_path / "w") as running:
            cut = asyncio.run(finished_from(settings))
            assert "were deleted before they were read" in running.log.read_text()
    assert 0 < cut < 600
    first = at("00:00") + cut * MINUTE
    starts = [from_datetime(row["window"]) for row in table(database)]
    assert starts == list(range(-(-first // HOUR) * HOUR, at("10:00"), HOUR))
    assert {row["mention_count"] for row in table(database)} == {60}


async def finished_from(settings: Settings) -> int:
    """Wait until every row is written; the offset at which the articles' log begins."""
    async with kafka.admin(settings) as admin, kafka.consumer(settings) as consumer:
        progress = Progress(settings, admin, consumer)
        while not await progress.is_finished():
            await asyncio.sleep(0.1)
        [extent] = (await progress.extents(RSS_EVENTS)).values()
        return extent.begin


def test_a_worker_can_be_told_to_stop_at_a_truncated_log(database: str, tmp_path: Path) -> None:
    """As replays do, whose result would be incomplete."""
    big = article(at("00:00"), "m", summary="x" * 30_000)
    with pipeline(database, partitions=1, on_truncated_log="fail") as settings:
        asyncio.run(send(settings, [workload.outgoing(big)] * 600))
        with worker(settings, tmp_path / "w") as running:
            assert running.process.wait(60) != 0
            assert "were deleted before they were read" in running.log.read_text()


def test_a_row_that_postgres_refuses_goes_to_the_dlq(database: str, tmp_path: Path) -> None:
    """With Postgres's reason; the other rows of its batch are written."""
    query(
        database,
        "ALTER TABLE lag_signals_history ADD CHECK (market <> 'market-3' OR mention_count % 2 = 0)",
    )
    articles, prices = workload.articles(2_000), workload.prices(12)
    with pipeline(database) as settings, worker(settings, tmp_path / "w") as running:
        replaying = replay(settings, running, articles, prices)
    rows = {(row["market"], format_ms(from_datetime(row["window"]))) for row in table(database)}
    refused = {
        key
        for key, signal in replaying.signals.items()
        if key[0] == "market-3" and signal.mention_count % 2
    }
    assert refused
    assert rows == replaying.signals.keys() - refused
    assert {source[0] for source in replaying.refused} == {LAG_SIGNALS}
    assert all(reason.startswith("23514 ") for reason in replaying.refused.values())
