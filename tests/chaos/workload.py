"""A seeded workload: articles, prices and heartbeats in about the order of their times.

What it holds on purpose: late articles, articles sent twice, articles without an id, markets that
are silent for hours, prices that come hours early or late, stale ones that are replaced, ties,
other outcomes, records that no job can use.
"""

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from marketlag.event_time import HOUR, MINUTE, format_ms, parse_ms
from marketlag.records import HEARTBEAT
from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.support.logs import article, heartbeat, price
from tests.support.workload import bad_articles, bad_prices

START = parse_ms("2025-01-01T00:00:00Z")
#: Header of a record that has to be refused.
BAD = "bad"


class Plan(NamedTuple):
    """What a seed decides beside the records themselves."""

    partitions: int
    markets: int
    hours: int
    settings: dict[str, str]


class Sent(NamedTuple):
    """A record to send. *partition* is ``None`` where the key decides, as at the producers."""

    topic: str
    key: bytes | None
    value: bytes
    bad: bool = False
    partition: int | None = None


def plan(seed: int) -> Plan:
    rng = random.Random(f"plan {seed}")
    return Plan(
        partitions=rng.choice([4, 6]),
        markets=rng.randrange(16, 25),
        hours=rng.randrange(24, 37),
        settings={
            "allowed_lateness": rng.choice(["0", "0", "30m"]),
            # With a day or half of one, facts expire while the run goes on.
            "state_ttl": rng.choice(["12h", "1d", "7d"]),
            "sink_max_rows": rng.choice(["7", "50", "100"]),
            "fetch_max_records": rng.choice(["40", "300", "4000"]),
            # By number, so that what else a seed decides stays what it was.
            "window": "1h" if seed % 4 else "15m",
            "price_at": "window_start" if seed % 5 else "window_end",
            "signal_rule": "absolute" if seed % 7 else "either",
        },
    )


def records(seed: int, of: Plan) -> list[Sent]:
    """All records in the order of sending; closes with heartbeats that close every window."""
    rng = random.Random(f"records {seed}")
    slots: list[tuple[float, Sent]] = []
    for hour in range(of.hours):
        start = START + hour * HOUR
        for market in (f"market-{index}" for index in range(of.markets)):
            slots += _articles(rng, market, start)
            slots += _prices(rng, market, start)
        slots += [(start + rng.randrange(HOUR), sent) for sent in _heartbeats(rng, of, start)]
        slots += [(start + HOUR, sent) for sent in _price_clocks(of, start)]
        slots += [(start + rng.randrange(HOUR), sent) for sent in _bad(rng)]
    slots.sort(key=lambda slot: slot[0])
    closing = heartbeat(START + (of.hours + 12) * HOUR)
    return [
        *(sent for _, sent in slots),
        *(_beat(closing, partition) for partition in range(of.partitions)),
    ]


def _articles(rng: random.Random, market: str, start: int) -> Iterator[tuple[float, Sent]]:
    if rng.random() < 0.15:
        return  # no news in this hour
    for number in range(rng.randrange(1, 8)):
        published = start + rng.randrange(HOUR)
        sent_at = published + rng.randrange(5 * MINUTE)
        if rng.random() < 0.03:
            sent_at += rng.choice([20 * MINUTE, 3 * HOUR, 9 * HOUR])
        value = article(
            published,
            market,
            article_id=rng.choice([f"{market}-{start}-{number}"] * 9 + [None]),
            keyword_score=rng.randrange(-4, 24) / 2,
            source_weight=rng.choice([0.5, 0.7, 0.9, 1.0, -1.5]),
        )
        for _ in range(rng.choice([1] * 15 + [2])):
            yield sent_at, Sent(RSS_EVENTS, market.encode(), msgspec.json.encode(value))
            sent_at += rng.randrange(2 * HOUR)


def _prices(rng: random.Random, market: str, hour: int) -> Iterator[tuple[float, Sent]]:
    if rng.random() < 0.1:
        return
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        value = price(
            hour,
            rng.choice([0.5, round(rng.uniform(-0.05, 1.05), 3)]),
            rng.choice([None, round(rng.uniform(-0.04, 0.04), 3)]),
            market_slug=market,
            outcome=rng.choice(["YES"] * 6 + ["yes", "NO"]),
            stale=rng.random() < 0.2,
            # Few distinct times, so that ranks tie.
            fetched_at=format_ms(hour + rng.choice([1, 1, 20, 90]) * MINUTE),
        )
        sent_at = hour + rng.choice([-30, 1, 1, 10, 61, 180]) * MINUTE
        key = f"{market}|{value['outcome'].upper()}".encode()
        yield sent_at, Sent(PRICE_HOURLY, key, msgspec.json.encode(value))


def _heartbeats(rng: random.Random, of: Plan, start: int) -> Iterator[Sent]:
    for partition in range(of.partitions):
        if rng.random() < 0.5:
            yield _beat(heartbeat(start - rng.randrange(HOUR)), partition)


def _price_clocks(of: Plan, start: int) -> Iterator[Sent]:
    """Without them a partition that no market's prices are in would hold back all expiry."""
    value = msgspec.json.encode({"market_slug": HEARTBEAT, "event_time": format_ms(start)})
    for partition in range(of.partitions):
        yield Sent(PRICE_HOURLY, HEARTBEAT.encode(), value, partition=partition)


def _beat(value: dict[str, Any], partition: int) -> Sent:
    return Sent(RSS_EVENTS, HEARTBEAT.encode(), msgspec.json.encode(value), partition=partition)


def _bad(rng: random.Random) -> list[Sent]:
    kinds = [(RSS_EVENTS, each) for each in bad_articles(18, seed=rng.randrange(2**32))[:16]]
    kinds += [(PRICE_HOURLY, each) for each in bad_prices(5)]
    return [
        Sent(topic, each.key, each.value, bad=True)
        for topic, each in rng.sample(kinds, rng.randrange(4))
    ]
