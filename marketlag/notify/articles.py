"""The articles behind an hour, read from ``rss.events`` when somebody is to be told of it.

An article of a window cannot have arrived more than five minutes before the window began (it would
have been refused), nor after the record that completed the row.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from aiokafka import TopicPartition

from marketlag import kafka
from marketlag.event_time import from_datetime
from marketlag.notify.message import Behind
from marketlag.records import MAX_AHEAD_MS, LogRecord, Refusal
from marketlag.rules.signals import read_article
from marketlag.settings import Settings, milliseconds
from marketlag.topics import RSS_EVENTS, partition_of


class Counted:
    """Collects the articles of one market and window, each once."""

    def __init__(self, market: str, start: int, end: int) -> None:
        self._market, self._key = market, market.encode()
        self._start, self._end = start, end
        self._found: dict[str, Behind] = {}

    def take(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            if record.key != self._key:
                continue
            try:
                article, published = read_article(record)
            except Refusal:
                continue
            if article is not None and self._start <= published < self._end:
                weight = article.keyword_score * article.source_weight
                found = Behind(article.title, article.link, weight)
                name = article.article_id or f"{article.link}\0{article.title}"
                self._found.setdefault(name, found)

    def heaviest_first(self) -> list[Behind]:
        return sorted(self._found.values(), key=lambda each: (-each.weight, each.link))


async def articles_behind(
    settings: Settings, market: str, window: datetime, detected_at: datetime
) -> list[Behind]:
    """The articles of a market's window, those that weigh most first.

    Raises ``BrokerError`` and aiokafka's ``KafkaError``.
    """
    start = from_datetime(window)
    until = from_datetime(detected_at)
    counted = Counted(market, start, start + milliseconds(settings.window))
    tp = TopicPartition(RSS_EVENTS, partition_of(market, settings.partitions))
    async with kafka.consumer(settings) as client:
        client.assign([tp])
        begins, ends = await client.beginning_offsets([tp]), await client.end_offsets([tp])
        found = (await client.offsets_for_times({tp: start - MAX_AHEAD_MS})).get(tp)
        # A broker without an index of times (librdkafka's mock) knows of none.
        position = found.offset if found is not None and found.offset >= 0 else begins[tp]
        client.seek(tp, position)
        arrived = 0
        while position < ends[tp] and arrived <= until:
            for records in (await client.getmany(tp, timeout_ms=1_000)).values():
                counted.take(_up_to(records, until))
                arrived = max(arrived, records[-1].timestamp)
            position = await client.position(tp)
    return counted.heaviest_first()


def _up_to(records: Iterable[Any], until: int) -> Iterable[LogRecord]:
    return (record for record in records if record.timestamp <= until)
