"""Job 1 as one would write it with Faust as it is: an event at a time, tumbling RocksDB tables.

The same job as ours on a good day: mean score per market and hour, each article id once, late
articles aside, a signal when the watermark passes. On a bad day (a crash, a rebalance) it counts
twice, and loses the windows that were open.
"""

import os
from collections import defaultdict
from datetime import datetime, timedelta

import faust

HOUR = timedelta(hours=1)
DELAY = timedelta(minutes=5)

app = faust.App(
    os.environ["GROUP"],
    broker=f"aiokafka://{os.environ['BROKER']}",
    store="rocksdb://",
    datadir=os.environ["FOLDER"],
    topic_allow_declare=False,
    topic_disable_leader=True,
    topic_partitions=int(os.environ["PARTITIONS"]),
    table_standby_replicas=0,
    stream_recovery_delay=0.1,
    broker_commit_interval=0.1,
    producer_linger=0.02,
)


class Article(faust.Record, coerce=True):
    market_slug: str
    article_id: str
    published_at: datetime
    source_weight: float
    keyword_score: float


class Hour(faust.Record):
    count: int = 0
    score: float = 0.0
    weighted: float = 0.0
    weight: float = 0.0


class Signal(faust.Record):
    market_slug: str
    window_start: str
    mention_count: int
    keyword_score: float
    source_weighted_signal: float
    source_weight_avg: float


hours = app.Table("hours", default=Hour, value_type=Hour).tumbling(HOUR)
by_time = hours.relative_to_field(Article.published_at)
seen = app.Table("seen", default=bool)
signals = app.topic(os.environ["OUTPUT"], value_type=Signal)
late = app.topic(os.environ["LATE"], value_type=Article)

watermarks: dict[int, datetime] = {}
open_windows: dict[int, dict[datetime, dict[str, Hour]]] = defaultdict(lambda: defaultdict(dict))


@app.agent(app.topic(os.environ["TOPIC"], value_type=Article))
async def fold(articles: faust.Stream[Article]) -> None:
    async for event in articles.events():
        article, partition = event.value, event.message.partition
        start = article.published_at.replace(minute=0, second=0, microsecond=0)
        watermark = watermarks.get(partition)
        if watermark is not None and watermark >= start + HOUR:
            await late.send(key=article.market_slug, value=article)
            continue
        identity = f"{article.market_slug}|{start}|{article.article_id}"
        if not seen[identity]:
            seen[identity] = True
            hour = by_time[article.market_slug].value()
            hour.count += 1
            hour.score += article.keyword_score
            hour.weighted += article.keyword_score * article.source_weight
            hour.weight += article.source_weight
            by_time[article.market_slug] = hour
            open_windows[partition][start][article.market_slug] = hour
        reached = article.published_at - DELAY
        if watermark is None or reached > watermark:
            watermarks[partition] = reached
            for closed in [w for w in open_windows[partition] if reached >= w + HOUR]:
                for market, hour in open_windows[partition].pop(closed).items():
                    await signals.send(key=market, value=to_signal(market, closed, hour))


def to_signal(market: str, start: datetime, hour: Hour) -> Signal:
    return Signal(
        market_slug=market,
        window_start=start.isoformat(),
        mention_count=hour.count,
        keyword_score=hour.score,
        source_weighted_signal=hour.weighted / hour.count,
        source_weight_avg=hour.weight / hour.count,
    )
