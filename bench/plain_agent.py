"""Job 1 as one would first write it with Faust: an event at a time, a tumbling RocksDB table.

What it leaves out is in its favour: it closes no window, checks no duplicate, sends no signal.
"""

import os
from datetime import datetime, timedelta

import faust

app = faust.App(
    "plain",
    broker=os.environ["PLAIN_BROKER"],
    store="rocksdb://",
    datadir=os.environ["PLAIN_DATADIR"],
    topic_allow_declare=False,
    topic_disable_leader=True,
    topic_partitions=1,
    table_standby_replicas=0,
    stream_recovery_delay=0.1,
    broker_commit_interval=0.1,
    producer_linger=0.02,
)


class Article(faust.Record, coerce=True):
    market_slug: str
    published_at: datetime
    source_weight: float
    keyword_score: float


class Hour(faust.Record):
    count: int = 0
    score: float = 0.0
    weighted: float = 0.0
    weight: float = 0.0


hours = app.Table("hours", default=Hour, value_type=Hour).tumbling(timedelta(hours=1))
by_time = hours.relative_to_field(Article.published_at)


@app.agent(app.topic("rss.events", value_type=Article))
async def fold(articles: faust.Stream[Article]) -> None:
    async for article in articles:
        hour = by_time[article.market_slug].value()
        hour.count += 1
        hour.score += article.keyword_score
        hour.weighted += article.keyword_score * article.source_weight
        hour.weight += article.source_weight
        by_time[article.market_slug] = hour
