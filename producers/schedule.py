"""When feeds and prices are polled, every quarter of an hour and on the hour, and by what parts."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any, NamedTuple

from marketlag import metrics
from marketlag.event_time import DAY
from marketlag.markets import Markets
from marketlag.settings import Settings, milliseconds
from marketlag.topics import partition_of
from producers.feeds import FeedProducer
from producers.fetch import Fetcher
from producers.matching import Matcher
from producers.prices import Polymarket, PriceProducer
from producers.publish import HealthLog, Kind
from producers.state import (
    Clock,
    Facts,
    FeedFact,
    MarketFact,
    Outlet,
    SeenFact,
    Tenure,
)

LOOK_SECONDS = 1.0
ALL: frozenset[Kind] = frozenset({"rss", "prices"})
#: What left its feed is forgotten when a partition is taken over, and once a day.
SWEEP_MS = DAY


class Poller:
    """Looks once a second what is due, and starts it. A source is polled once at a time.

    Args:
        tenures: the partitions that are ours at the moment; the same object while one stays ours.
        feeds, prices: what to poll; ``None`` for what somebody else does.
    """

    def __init__(
        self,
        settings: Settings,
        markets: Markets,
        *,
        tenures: Callable[[], Iterable[Tenure]],
        feeds: FeedProducer | None,
        prices: PriceProducer | None,
        health: HealthLog,
        clock: Clock,
    ) -> None:
        self._interval = milliseconds(settings.rss_poll)
        self._feeds = _by_partition(markets.feeds, settings.partitions)
        slugs = (market.slug for market in markets.market)
        self._slugs = _by_partition(slugs, settings.partitions)
        self._tenures = tenures
        self._feed_producer, self._price_producer = feeds, prices
        self._health, self._clock = health, clock
        self._held: list[Tenure] = []
        self._taken: dict[int, Tenure] = {}
        self._swept: dict[int, int] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        #: What a single run has polled is not polled again in it, though it be due once more.
        self._polled_once: set[str] = set()

    async def run(self, should_stop: Callable[[], bool]) -> None:
        """Poll until told to stop. Raises what a poll raises, which is no failure of a source."""
        try:
            while not should_stop():
                self.look()
                self._start("health", self._health.write)
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in self._running.values():
                task.cancel()

    def failures_in_a_row(self) -> Iterable[metrics.Sample]:
        """See ``HealthLog.failures_in_a_row``."""
        return self._health.failures_in_a_row()

    async def write_health(self) -> None:
        """Write the rows of health that wait."""
        await self._health.write()

    async def run_once(self, report: Callable[[str], None]) -> None:
        """Poll everything that is due, once, and return when all of it is done.

        *report* is given the name of what is finished.
        """
        self._polled_once = set()
        self.look()
        while self._running:
            before = set(self._running)
            await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            self._polled_once.update(name for name, task in self._running.items() if task.done())
            # What waited for a partition to be taken over can begin now.
            self.look()
            for name in sorted(before - set(self._running)):
                report(name)

    def look(self) -> None:
        """Start what is due and not running."""
        for name in [name for name, task in self._running.items() if task.done()]:
            self._running.pop(name).result()
        tenures = list(self._tenures())
        if tenures != self._held:
            self._held = tenures
            self._health.forget_failures()
        for tenure in tenures:
            if self._is_taken_over(tenure):
                self._start_feeds(tenure)
                self._start_prices(tenure)

    def _is_taken_over(self, tenure: Tenure) -> bool:
        """Whether what was left over under earlier tenures is published; starts that if not."""
        if self._feed_producer is None:
            return True
        partition, now = tenure.partition, self._clock()
        name = f"partition {partition}"
        if name in self._running:
            return self._taken.get(partition) is tenure and partition in self._swept
        if self._taken.get(partition) is not tenure:
            self._taken[partition] = tenure
            self._swept.pop(partition, None)
            self._start(name, self._feed_producer.take_over, tenure)
            return False
        if now - self._swept.get(partition, 0) > SWEEP_MS:
            self._swept[partition] = now
            self._start(name, self._feed_producer.forget, tenure)
        return True

    def _start_feeds(self, tenure: Tenure) -> None:
        if self._feed_producer is None:
            return
        slot = self._clock() // self._interval * self._interval
        for feed in self._feeds[tenure.partition]:
            if feed in self._polled_once:
                continue
            if feed not in self._running and self._feed_producer.is_due(tenure, feed, slot):
                self._start(feed, self._feed_producer.poll, tenure, feed)

    def _start_prices(self, tenure: Tenure) -> None:
        name = f"prices of partition {tenure.partition}"
        if self._price_producer is None or name in self._running or name in self._polled_once:
            return
        slugs = self._slugs[tenure.partition]
        due = [slug for slug in slugs if self._price_producer.is_due(tenure, slug)]
        if due:
            self._start(name, self._price_producer.poll, tenure, due)
            return
        old = [slug for slug in slugs if self._price_producer.is_old(tenure, slug)]
        if old:
            self._start(name, self._price_producer.describe, tenure, old)

    def _start(
        self, name: str, work: Callable[..., Coroutine[Any, Any, None]], *args: object
    ) -> None:
        if name not in self._running:
            self._running[name] = asyncio.create_task(work(*args))


def _by_partition(names: Iterable[str], partitions: int) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for name in names:
        # Whose work it is: the partition that Kafka gives to a key of this name.
        found[partition_of(name, partitions)].append(name)
    return found


class Memory(NamedTuple):
    """What the producers remember, by who keeps it."""

    feeds: Facts[FeedFact]
    seen: Facts[SeenFact]
    prices: Facts[MarketFact]


def make_poller(
    settings: Settings,
    markets: Markets,
    memory: Memory,
    *,
    tenures: Callable[[], Iterable[Tenure]],
    outlet: Outlet,
    fetcher: Fetcher,
    clock: Clock,
    shares: int,
    kinds: Collection[Kind] = ALL,
) -> Poller:
    """Put the producers together. *shares*: so many processes may ask Polymarket at a time."""
    health = HealthLog(settings.postgres_dsn.get_secret_value(), clock)
    feeds = FeedProducer(
        settings,
        markets.feeds,
        Matcher(markets),
        known=memory.feeds,
        seen=memory.seen,
        outlet=outlet,
        fetcher=fetcher,
        health=health,
        clock=clock,
    )
    api = Polymarket(settings, fetcher, health, shares)
    prices = PriceProducer(settings, known=memory.prices, outlet=outlet, api=api, clock=clock)
    return Poller(
        settings,
        markets,
        tenures=tenures,
        feeds=feeds if "rss" in kinds else None,
        prices=prices if "prices" in kinds else None,
        health=health,
        clock=clock,
    )
