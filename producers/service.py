"""The producers inside of a worker.

A feed or market belongs to the partition that Kafka gives to its name; who holds that partition of
``rss.events`` polls it. So the work is done once in the cluster, spreads over its workers and moves
with the partitions, together with what is remembered of it.
"""

import time
from collections.abc import Iterable

from marketlag import metrics
from marketlag.application import app, markets, settings
from marketlag.engine.flow import Part
from marketlag.engine.positions import Lease
from marketlag.engine.producer import PRODUCERS
from marketlag.topics import MARKET_META, POLLS, PRICE_HOURLY, RSS_EVENTS, dlq
from producers.fetch import Fetcher
from producers.schedule import Memory, make_poller
from tables.last_prices import last_prices
from tables.rss_feeds import rss_feeds
from tables.rss_seen import rss_seen

app.parts.append(
    Part(
        PRODUCERS,
        writes=(
            *(RSS_EVENTS, PRICE_HOURLY, MARKET_META, POLLS),
            *(dlq(RSS_EVENTS), dlq(PRICE_HOURLY)),
        ),
        tables=(rss_feeds.name, rss_seen.name, last_prices.name),
        sources=("RSS, Atom, JSON feeds", "Polymarket Gamma and CLOB"),
        stores=("api_health_log",),
    )
)


def now_ms() -> int:
    return int(time.time() * 1_000)


class LeaseTenure:
    """A partition's lease in one generation of the group."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.partition = int(lease.tp.partition)

    def is_held(self) -> bool:
        """Whether no rebalance has come since."""
        return not app.rebalancing and self._lease in app.reader.positions.held(RSS_EVENTS)


class Tenures:
    """The tenures of this worker, as the group's generations give and take them."""

    def __init__(self) -> None:
        self._known: dict[int, LeaseTenure] = {}

    def __call__(self) -> Iterable[LeaseTenure]:
        self._known = {number: held for number, held in self._known.items() if held.is_held()}
        if not app.rebalancing:
            for lease in app.reader.positions.held(RSS_EVENTS):
                self._known.setdefault(int(lease.tp.partition), LeaseTenure(lease))
        return list(self._known.values())


@app.task  # type: ignore[untyped-decorator]  # Faust's own
async def poll() -> None:
    """Poll, if there is anything to poll and no cron that does it."""
    if not settings.poll_in_worker or not markets.market:
        return
    async with Fetcher(settings) as fetcher:
        poller = make_poller(
            settings,
            markets,
            Memory(rss_feeds, rss_seen, last_prices),
            tenures=Tenures(),
            outlet=app.sender,
            fetcher=fetcher,
            clock=now_ms,
            # No more workers than partitions can have work.
            shares=settings.partitions,
        )
        metrics.FAILURES_IN_A_ROW.source(poller.failures_in_a_row)
        await poller.run(lambda: app.should_stop)
