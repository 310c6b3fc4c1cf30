"""The articles that all contenders read: a month of news, skewed over its markets, 2 % too late.

A log of several partitions, the same for every run: seeded, with explicit timestamps. At its end
each partition has one article of a market of its own, four hours after the month, which closes all
windows of the month.

Late articles are from before the month. A contender that reads the partitions at different paces
and takes the least of their watermarks (Flink) would still count an article that is a few hours
late; these are late for everybody. They come after a third of each partition: by then every
partition has been read, whatever the pace.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

from marketlag import kafka
from marketlag.event_time import DAY, HOUR, format_ms, parse_ms
from marketlag.settings import Settings

START = parse_ms("2025-01-01T00:00:00Z")
HOURS = 720
#: Of two markets the k-th gets ``1 / k ** SKEW`` of the news of the first.
SKEW = 0.8
LATE_SHARE = 0.03  # of the last two thirds: 2 % of all
SUBJECTS = (
    *("Fed", "Powell", "rates", "inflation", "jobs", "Treasury", "yields", "dollar", "gold", "oil"),
    *("Bitcoin", "Ethereum", "Congress", "Senate", "House", "budget", "shutdown", "tariffs"),
    *("China", "Taiwan", "Ukraine", "ceasefire", "NATO", "election", "polls", "primary", "ruling"),
    *("appeal", "merger", "antitrust", "Nvidia", "OpenAI", "launch", "recall", "hurricane", "vote"),
)
VERBS = (
    "signals",
    "weighs",
    "rejects",
    "expects",
    "confirms",
    "delays",
    "denies",
    "raises",
    "backs",
)
SOURCES = {"Reuters": 1.0, "Bloomberg": 1.0, "CNBC": 0.8, "CoinDesk": 0.7, "Blog": 0.3}
BATCH_BYTES = 512 * 1024


class Load(NamedTuple):
    """How much: articles in so many hours, and over how many markets and partitions."""

    events: int
    markets: int = 50
    partitions: int = 6
    hours: int = HOURS
    skew: float = SKEW


class Record(NamedTuple):
    """A record of ``rss.events``; the timestamp is Kafka's, in ms."""

    partition: int
    timestamp: int
    key: bytes
    value: bytes


def market_slug(number: int) -> str:
    return f"will-{SUBJECTS[number % len(SUBJECTS)].lower()}-happen-by-june-{number}"


def partition_of(key: bytes, partitions: int) -> int:
    """As every producer of Kafka's puts a key into a partition."""
    return int(_partitioner(key, list(range(partitions)), []))


_partitioner = DefaultPartitioner()


def records(load: Load) -> Iterator[Record]:
    """The log in order of time; every partition's share is its log."""
    rng = random.Random(20250101)  # noqa: S311 - a workload, not a secret
    slugs = [market_slug(number) for number in range(load.markets)]
    keys = [slug.encode() for slug in slugs]
    places = [partition_of(key, load.partitions) for key in keys]
    weights = list(itertools.accumulate(1 / (n + 1) ** load.skew for n in range(load.markets)))
    texts = [_text(rng) for _ in range(5_000)]
    for index in range(load.events):
        arrived = START + index * load.hours * HOUR // load.events
        is_late = index > load.events // 3 and rng.random() < LATE_SHARE
        published = START - rng.randrange(DAY, 5 * DAY) if is_late else arrived
        market = rng.choices(range(load.markets), cum_weights=weights)[0]
        article = _article(slugs[market], index, published, rng.choice(texts), rng)
        yield Record(places[market], arrived, keys[market], article)
    closing = START + (load.hours + 4) * HOUR
    for partition, slug in _closing_slugs(load.partitions).items():
        article = _article(slug, load.events + partition, closing, ("The end", "", "Blog"), rng)
        yield Record(partition, closing, slug.encode(), article)


def _article(
    slug: str, index: int, published: int, text: tuple[str, str, str], rng: random.Random
) -> bytes:
    title, summary, source = text
    score = rng.randrange(1, 9) / 2
    return msgspec.json.encode(
        {
            "market_slug": slug,
            "article_id": f"{index:08x}",
            "title": title,
            "link": f"https://news.example.org/2025/{index}",
            "summary": summary,
            "published_at": format_ms(published),
            "source": source,
            "source_weight": SOURCES[source],
            "keywords": ["fed"],
            "keyword_scores": {"fed": score},
            "keyword_score": score,
            "fetched_at": format_ms(published),
        }
    )


def _text(rng: random.Random) -> tuple[str, str, str]:
    def sentence(words: int) -> str:
        return " ".join(rng.choices(SUBJECTS, k=words)) + " " + rng.choice(VERBS)

    return sentence(rng.randrange(5, 11)), sentence(rng.randrange(8, 26)), rng.choice([*SOURCES])


def _closing_slugs(partitions: int) -> dict[int, str]:
    found: dict[int, str] = {}
    for number in itertools.count():
        slug = f"the-end-{number}"
        found.setdefault(partition_of(slug.encode(), partitions), slug)
        if len(found) == partitions:
            return found
    raise AssertionError


def is_closing(slug: str) -> bool:
    """Whether a market is one of those that only end the log."""
    return slug.startswith("the-end-")


async def fill(settings: Settings, topic: str, load: Load) -> int:
    """Write the log; return how many bytes its values have.

    In batches of the right size, as a busy producer would: thousands of records each.
    """
    size = 0
    async with AIOKafkaProducer(
        **kafka.client_options(settings), max_batch_size=BATCH_BYTES, max_request_size=4 * 2**20
    ) as producer:
        waiting: set[asyncio.Future[object]] = set()
        open_batches = {n: producer.create_batch() for n in range(load.partitions)}

        async def ship(partition: int) -> None:
            batch = open_batches[partition]
            batch.close()
            waiting.add(await producer.send_batch(batch, topic, partition=partition))
            open_batches[partition] = producer.create_batch()

        for record in records(load):
            size += len(record.value)
            row = {"key": record.key, "value": record.value, "timestamp": record.timestamp}
            if open_batches[record.partition].append(**row) is None:
                await ship(record.partition)
                open_batches[record.partition].append(**row)
            if len(waiting) > 20:
                _, waiting = await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
        for partition in open_batches:
            await ship(partition)
        await asyncio.gather(*waiting)
    return size
