"""When what is polled: after what was left over is published, once in each interval."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from aiohttp import web

from marketlag.event_time import MINUTE
from marketlag.markets import Markets
from producers.schedule import Memory, Poller, make_poller
from producers.state import FeedFact, MarketFact, SeenFact
from tests.support.feeds import FeedItem, rss
from tests.support.producers import (
    NOON,
    Disk,
    HeldTenure,
    Killed,
    MemoryFacts,
    Process,
    Producers,
)
from tests.support.web import WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


class SlowProcess(Process):
    """Its flushes wait for a gate."""

    def __init__(self, disk: Disk) -> None:
        super().__init__(disk)
        self.gate = asyncio.Event()

    async def flush(self) -> None:
        await self.gate.wait()
        await super().flush()


async def settle() -> None:
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_nothing_is_polled_before_what_was_left_over_is_published(server: WebServer) -> None:
    """Also when the partition was lost and got again while an earlier take-over hung in Kafka."""
    feed = server.serve("/feed", rss([FeedItem("Fed", NOON, "1")]))
    markets = Markets.model_validate(
        {"market": [{"slug": "fed", "feeds": [feed], "keywords": {"Fed": 1.0}}]}
    )
    disk = Disk()
    async with Producers(markets, disk, dies_after=2) as first:
        with pytest.raises(Killed):
            await first.poll(feed)
    assert disk.articles == []
    process = SlowProcess(disk)
    tenure = HeldTenure()
    async with Producers(markets) as parts:
        poller = poller_of(parts, markets, process, lambda: tenure)
        poller.look()
        await settle()
        assert [each["article_id"] for each in disk.articles] == ["1"]
        tenure.held = False
        tenure = HeldTenure()
        poller.look()
        await settle()
        process.gate.set()
        await settle()
        # The earlier one had no right to note what it had published, so it is published again.
        poller.look()
        await settle()
        assert [each["article_id"] for each in disk.articles] == ["1", "1"]
        assert server.asked["/feed"] == 1
        finished: list[str] = []
        await poller.run_once(finished.append)
    assert feed in finished
    assert server.asked["/feed"] == 2
    assert len(disk.articles) == 2


def poller_of(parts: Producers, markets: Markets, process: Process, tenure: object) -> Poller:
    memory = Memory(
        MemoryFacts("rss_feeds", FeedFact, process),
        MemoryFacts("rss_seen", SeenFact, process),
        MemoryFacts("last_prices", MarketFact, process),
    )
    return make_poller(
        parts.settings,
        markets,
        memory,
        tenures=lambda: [tenure()],  # type: ignore[operator]
        outlet=process,
        fetcher=parts.fetcher,
        clock=lambda: parts.now,
        shares=1,
        kinds=["rss"],
    )


async def test_a_feed_is_due_once_in_each_interval(server: WebServer) -> None:
    feed = server.serve("/feed", rss([FeedItem("Fed", NOON, "1")]))
    markets = Markets.model_validate({"market": [{"slug": "fed", "feeds": [feed]}]})
    process = Process(Disk())
    async with Producers(markets) as parts:
        tenure = HeldTenure()
        poller = poller_of(parts, markets, process, lambda: tenure)
        for minutes in (0, 1, 14, 15, 29, 31):
            parts.now = NOON + minutes * MINUTE
            await poller.run_once(lambda _: None)
    assert server.asked["/feed"] == 3
    polls = [msgspec.json.decode(each.value)["polled_at"] for each in process.disk.log]
    assert [time[11:16] for time in polls] == ["12:00", "12:15", "12:31"]


async def test_a_single_run_polls_a_source_once_however_long_it_takes(server: WebServer) -> None:
    """Though the next interval begins while it runs."""
    markets = Markets.model_validate({"market": [{"slug": "fed", "feeds": [server.url + "/feed"]}]})
    process = Process(Disk())
    async with Producers(markets) as parts:

        async def slow(_request: web.Request) -> web.Response:
            parts.now += 15 * MINUTE
            return web.Response(body=rss([FeedItem("Fed", NOON, "1")]))

        server.answer("/feed", slow)
        tenure = HeldTenure()
        poller = poller_of(parts, markets, process, lambda: tenure)
        await poller.run_once(lambda _: None)
        assert server.asked["/feed"] == 1
        await poller.run_once(lambda _: None)
        assert server.asked["/feed"] == 2
