"""The producers in the real worker: from feeds and prices over HTTP to rows in Postgres."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from marketlag import kafka
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import HOUR, MINUTE
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import RSS_EVENTS
from tests.support.fast_worker import fast_clock
from tests.support.feeds import FeedItem, clob, gamma_market, markets_toml, rss
from tests.support.kafka.client import Client
from tests.support.services import pipeline, query, table, when_ready
from tests.support.web import WebServer

ROOT = Path(__file__).parents[2]
#: An hour takes 6 s.
SPEED = 600


class World(NamedTuple):
    """A feed whose story begins with the first hour after the first poll; a price that is still."""

    settings: Settings
    server: WebServer
    feed: str
    clock: str
    folder: Path

    def worker(self, name: str, **environment: str) -> WorkerProcess:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        used = load_settings(
            **{**self.settings.model_dump(exclude_unset=True), "datadir": folder / "state"}
        )
        return WorkerProcess(
            worker_env(used) | {"FAST_CLOCK": self.clock, "PYTHONPATH": str(ROOT), **environment},
            folder / "worker.log",
            module="tests.support.fast_worker",
        )


def story(hour: int) -> list[FeedItem]:
    """A quiet hour, then one in which every title has two keywords."""
    return [
        FeedItem("Fed holds", hour + 10 * MINUTE, "a"),
        *[FeedItem(f"Fed: hike {n}", hour + HOUR + n * MINUTE, f"b{n}") for n in range(5)],
        FeedItem("Weather", hour + HOUR, "c"),
    ]


@contextmanager
def made_up_world(database: str, folder: Path, server: WebServer) -> Iterator[World]:
    begin = int(time.time() * 1_000)
    origin = begin // HOUR * HOUR - 24 * HOUR
    clock = fast_clock(begin, origin, SPEED)
    items: list[FeedItem] = []

    def shown(_: web.Request) -> web.Response:
        if not items:
            items.extend(story(clock() // HOUR * HOUR + HOUR))
        return web.Response(body=rss(item for item in items if (item.published or 0) <= clock()))

    feed = server.answer("/feed", shown)
    server.serve("/markets/slug/fed", gamma_market("fed", ["1", "2"]))
    server.answer("/prices", clob({"1": "0.45", "2": "0.55"}))
    path = folder / "markets.toml"
    market = {"slug": "fed", "feeds": [feed], "keywords": {"Fed": 2.0, "hike": 3.0}}
    path.write_text(markets_toml([market], {"Reuters": 1.0}))
    with pipeline(
        database,
        markets=path,
        gamma_url=server.url,
        clob_url=server.url,
        feed_idle_after="12h",
        session_timeout="6s",
    ) as settings:
        yield World(settings, server, feed, f"{begin}:{origin}:{SPEED}", folder)


@pytest.fixture
def world(database: str, tmp_path: Path) -> Iterator[World]:
    with WebServer() as server, made_up_world(database, tmp_path, server) as found:
        yield found


def wait_for(running: WorkerProcess, found: Any, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (result := found()):
        running.check()
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
    return result


def flagged(database: str) -> list[dict[str, Any]]:
    return [row for row in table(database) if row["lag_flag"]]


def test_from_the_first_poll_to_a_flagged_row(database: str, world: World) -> None:
    """One article in the first hour, five of two keywords in the next, a price that stands still.

    Articles are counted once though the feed shows them at every poll; heartbeats close the hours;
    each fetch is a row of health.
    """
    with world.worker("w") as running:
        wait_for(running, lambda: flagged(database))
        rows = table(database)[:2]
    assert [(row["mention_count"], row["rss_signal"], row["lag_flag"]) for row in rows] == [
        (1, 2.0, False),
        (5, 5.0, True),
    ]
    assert (rows[1]["price"], rows[1]["price_delta"], rows[1]["stale"]) == (0.45, 0.0, False)
    assert world.server.asked["/feed"] >= 6
    health = {tuple(row) for row in query(database, "SELECT source, status FROM api_health_log")}
    assert {(world.feed, "ok"), (f"{world.server.url}/prices", "ok")} <= health


@pytest.mark.parametrize("when", ["read", "published"])
def test_killed_between_fetch_publish_and_remembering(
    database: str, world: World, when: str
) -> None:
    """Another worker, without the first one's folder, misses nothing and counts nothing twice."""
    dying = world.worker("first", DIE_WHEN=when)
    assert dying.process.wait(120) != 0
    with world.worker("second") as running:
        wait_for(running, lambda: flagged(database))
        rows = table(database)[:2]
    assert [row["mention_count"] for row in rows] == [1, 5]
    with Client(world.settings) as client:
        logs = client.logs([RSS_EVENTS], world.settings.partitions)[RSS_EVENTS]
    ids = Counter(
        json.loads(record.value).get("article_id")
        for records in logs.values()
        for record in records
        if record.key == b"fed"
    )
    assert (max(ids.values()) > 1) == (when == "published")


def test_two_workers_poll_once(database: str, world: World) -> None:
    """The feed and the market belong to one of them; the other takes over what it leaves."""
    with (
        when_ready(lambda: world.worker("a")) as first,
        when_ready(lambda: world.worker("b")) as second,
    ):
        wait_for(second, lambda: world.server.asked["/feed"] >= 2)
        first.stop()
        wait_for(second, lambda: flagged(database))
        rows = table(database)[:2]
    assert [row["mention_count"] for row in rows] == [1, 5]
    hours = asyncio.run(polled_hours(world.settings))
    assert max(Counter(hours).values()) == 1


async def polled_hours(settings: Settings) -> list[tuple[bytes, str]]:
    """Key and hour of each price that was told."""
    from aiokafka import TopicPartition

    async with kafka.consumer(settings) as consumer:
        tps = [TopicPartition("polymarket.price_hourly", p) for p in range(settings.partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        found = []
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found += [
                    (record.key, json.loads(record.value)["event_time"])
                    for record in records
                    if b"|" in record.key
                ]
    return found
