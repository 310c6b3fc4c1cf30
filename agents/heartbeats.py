"""HEARTBEATS: what the producers polled, to the clocks of the logs that they write.

``producers.polls`` -> a heartbeat in every partition of ``rss.events`` and of
``polymarket.price_hourly``. All polls meet in one partition, so its owner is the only one that
writes them. The rules are ``marketlag.rules.polls``.
"""

import logging
import time
from collections.abc import Iterator

import msgspec
from faust.types import StreamT

from marketlag import metrics
from marketlag.application import app, markets, settings
from marketlag.engine.chunk import Chunk, PerPartition
from marketlag.event_time import format_ms
from marketlag.records import HEARTBEAT
from marketlag.rules.polls import PRICES_IDLE_AFTER_MS, Beat, Polls
from marketlag.settings import milliseconds
from marketlag.topics import POLLS, PRICE_HOURLY, RSS_EVENTS
from producers.fetch import without_user

logger = logging.getLogger(__name__)


def open_clocks(_: Chunk) -> Polls:
    """No clock yet: the log of polls brings them back."""
    return Polls(
        {"rss": markets.feeds, "prices": [market.slug for market in markets.market]},
        {"rss": milliseconds(settings.feed_idle_after), "prices": PRICES_IDLE_AFTER_MS},
    )


partitions = PerPartition(open_clocks)


@app.job("heartbeats", reads=[POLLS], writes=[RSS_EVENTS, PRICE_HOURLY])
async def heartbeats(chunks: StreamT[Chunk]) -> None:
    """Tell every partition how far event time has come."""
    async for chunk in chunks:
        with chunk:
            clocks = partitions[chunk]
            for beat in clocks.fold(chunk.records):
                report_idle(beat)
                if beat.time is not None:
                    await send_heartbeat(beat.kind, beat.time)
            chunk.lease.advance(clocks.recovery_offset(chunk.end), done=chunk.end)


def report_idle(beat: Beat) -> None:
    for source in beat.idle:
        logger.error("%s does not answer: time goes on without it", without_user(source))
    for source in beat.back:
        logger.warning("%s answers again", without_user(source))


async def send_heartbeat(kind: str, time: int) -> None:
    if kind == "rss":
        topic = RSS_EVENTS
        value = rss_heartbeat(time - milliseconds(settings.feed_delay))
    else:
        topic = PRICE_HOURLY
        value = {"market_slug": HEARTBEAT, "event_time": format_ms(time)}
    for partition in range(settings.partitions):
        await app.sender.publish(
            topic, msgspec.json.encode(value), key=HEARTBEAT.encode(), partition=partition
        )


def rss_heartbeat(time: int) -> dict[str, object]:
    """In the shape of an article, so that any reader of the topic can decode it."""
    return {
        "market_slug": HEARTBEAT,
        "title": "",
        "link": "",
        "published_at": format_ms(time),
        "source_weight": 0.0,
        "keyword_score": 0.0,
    }


@metrics.FEED_STALENESS.source
def staleness() -> Iterator[metrics.Sample]:
    for _, clocks in partitions.held(app.reader.positions.term):
        for feed, answered in clocks.answered("rss").items():
            yield [without_user(feed)], time.time() - answered / 1_000


@metrics.SOURCES_IDLE.source
def idle_sources() -> Iterator[metrics.Sample]:
    for _, clocks in partitions.held(app.reader.positions.term):
        for kind, count in clocks.idle_counts().items():
            yield [kind], count
