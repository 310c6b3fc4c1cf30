"""A workload of several markets over several partitions, and the rows it has to give."""

import random
from typing import Any

import msgspec

from marketlag.event_time import HOUR, MINUTE, format_ms, parse_ms
from marketlag.replay.inputs import Outgoing
from tests.support.logs import article, at, price

MARKETS = [f"market-{index}" for index in range(12)]


def articles(count: int, *, seed: int = 7, per_hour: int = 200) -> list[Outgoing]:
    """Articles in about the order of their times, 2 % of them hours late, 2 % sent again."""
    rng = random.Random(seed)
    sent: list[Outgoing] = []
    for index in range(count):
        published = at("00:00") + index * HOUR // per_hour
        published -= rng.choice([0] * 48 + [9 * HOUR]) + rng.randrange(2 * MINUTE)
        market = rng.choice(MARKETS)
        sent.append(
            outgoing(
                article(
                    published,
                    market,
                    article_id=f"id-{index}",
                    keyword_score=rng.randrange(0, 12) / 2,
                    source_weight=rng.choice([0.5, 0.75, 1.0]),
                )
            )
        )
        if rng.random() < 0.02:
            sent.append(sent[rng.randrange(len(sent))])
    return sent


def prices(hours: int, *, seed: int = 8) -> list[Outgoing]:
    """A price an hour and market, one in ten missing, one in ten stale."""
    rng = random.Random(seed)
    return [
        outgoing(
            price(
                at("00:00") + hour * HOUR,
                round(rng.random(), 3),
                round(rng.uniform(-0.05, 0.05), 3),
                market_slug=market,
                stale=rng.random() < 0.1,
            )
        )
        for hour in range(hours)
        for market in MARKETS
        if rng.random() > 0.1
    ]


def outgoing(value: dict[str, Any]) -> Outgoing:
    """A record keyed as its producer keys it."""
    key = value["market_slug"]
    if "outcome" in value:
        key += f"|{value['outcome']}"
    time = value.get("published_at") or value["event_time"]
    return Outgoing(key.encode(), msgspec.json.encode(value), parse_ms(time))


def bad_articles(count: int, *, seed: int = 9) -> list[Outgoing]:
    """Records that no job can use, of sixteen kinds."""
    rng = random.Random(seed)
    good = article(at("01:00"), "market-1")
    without_link = {name: value for name, value in good.items() if name != "link"}
    encode = msgspec.json.encode
    kinds: list[tuple[bytes | None, bytes]] = [
        (b"market-1", b"not json at all"),
        (b"market-1", encode(good)[:-20]),
        (b"market-1", encode({**good, "keyword_score": "2.0"})),
        (b"market-1", encode({**good, "title": ["a", "list"]})),
        (b"market-1", encode(good).replace(b'"keyword_score":1.0', b'"keyword_score":NaN')),
        (b"market-1", encode(good).replace(b'"keyword_score":1.0', b'"keyword_score":Infinity')),
        (b"market-1", encode(without_link)),
        (b"market-1", encode({**good, "market_slug": ""})),
        (None, encode(good)),
        (b"another", encode(good)),
        (b"market-1", b'{"market_slug": "\xff\xfe"}'),
        (b"market-1", encode({**good, "published_at": "2025-01-01T01:00:00"})),
        (b"market-1", encode({**good, "published_at": "2031-01-01T01:00:00Z"})),
        (b"market-1", encode({**good, "published_at": "first of May"})),
        (b"market-1", b"[]"),
        (b"market-1", b""),
    ]
    huge = [
        Outgoing(b"market-1", encode({**good, "summary": "x" * 1024 * 1024}), None),
        Outgoing(b"market-1", b"y" * 3 * 1024 * 1024, None),
    ]
    many = [
        Outgoing(*rng.choice(kinds[index % 16 : index % 16 + 1]), None)
        for index in range(count - 2)
    ]
    return many + huge


def bad_prices(count: int) -> list[Outgoing]:
    """Prices that are out of bounds, no number, off the hour, or of another time."""
    good = price(at("01:00"), market_slug="market-1")
    values = [
        {**good, "price": 1.7},
        {**good, "price": "0.5"},
        {**good, "event_time": format_ms(at("01:00") + 1)},
        {**good, "event_time": "2031-01-01T01:00:00Z"},
        {**good, "outcome": None},
    ]
    return [
        Outgoing(b"market-1|YES", msgspec.json.encode(values[index % len(values)]), None)
        for index in range(count)
    ]


def mixed(good: list[Outgoing], bad: list[Outgoing], *, seed: int = 10) -> list[Outgoing]:
    """The bad ones strewn among the good, whose order stays."""
    rng = random.Random(seed)
    slots = [True] * len(good) + [False] * len(bad)
    rng.shuffle(slots)
    sources = iter(good), iter(bad)
    return [next(sources[0] if slot else sources[1]) for slot in slots]
