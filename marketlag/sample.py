"""The demo's week: three Fed-like markets, made up, the same at every run.

Each market gets calm news with small swings, and on top of it the hours below. What a pipeline
gets wrong shows as a false flag: the late articles and the duplicates are strong enough for it.
"""

import random
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from marketlag.event_time import HOUR, MINUTE, format_ms, from_datetime
from marketlag.records import Price
from marketlag.replay.inputs import Outgoing

START = from_datetime(datetime(2026, 3, 16, tzinfo=UTC))
HOURS = 7 * 24
#: Hours of the day (UTC) without any article.
NIGHT = range(2, 6)
SOURCES = (("Reuters", 1.0), ("Bloomberg", 0.9), ("Daily Ledger", 0.7))

#: An hour's signal: calm hours stay within a jump's threshold of each other.
CALM = (0.8, 1.6)
JUMP = 3.4
#: Twenty copies would lift a calm hour over the threshold, one does not.
REPEATED, COPIES = 3.4, 20
#: Would lift any hour over it.
LATE = 40.0


class Script(NamedTuple):
    """What happens to one market; hours are counted from the start of the week.

    Attributes:
        lags: the news jumps, the price stands still: these are to be flagged.
        moves: the news jumps and the price moves with it.
        late: a strong article arrives after its hour has closed.
        repeated: a strong article is sent again and again.
        unpriced: Polymarket gave no price.
    """

    slug: str
    question: str
    first_price: float
    lags: tuple[int, ...]
    moves: tuple[int, ...]
    late: tuple[int, ...]
    repeated: tuple[int, ...]
    unpriced: tuple[int, ...]


SCRIPTS = (
    Script(
        "fed-cuts-june-2026",
        "Will the Fed cut rates in June 2026?",
        0.38,
        lags=(38, 110),
        moves=(62,),
        late=(20, 85),
        repeated=(45,),
        unpriced=(70,),
    ),
    Script(
        "fed-holds-april-2026",
        "Will the Fed hold rates in April 2026?",
        0.71,
        lags=(63,),
        moves=(40, 135),
        late=(58,),
        repeated=(93, 118),
        unpriced=(17, 88),
    ),
    Script(
        "two-fed-cuts-in-2026",
        "Will the Fed cut twice in 2026?",
        0.22,
        lags=(86, 131),
        moves=(15,),
        late=(33,),
        repeated=(64,),
        unpriced=(109,),
    ),
)


class Sample(NamedTuple):
    """The week as records in order of arrival, and the hours that have to be flagged."""

    articles: list[Outgoing]
    prices: list[Outgoing]
    flagged: set[tuple[str, int]]


def make_sample() -> Sample:
    """Make the week. Nothing in it depends on the clock or the machine."""
    rng = random.Random(20260316)  # noqa: S311 - a sample, not a secret
    arrivals: list[tuple[int, Outgoing]] = []
    prices: list[Outgoing] = []
    for script in SCRIPTS:
        arrivals += _articles(script, rng)
        prices += _prices(script, rng)
    arrivals.sort(key=lambda arrival: arrival[0])
    prices.sort(key=lambda price: price.time or 0)
    flagged = {(script.slug, START + hour * HOUR) for script in SCRIPTS for hour in script.lags}
    return Sample([article for _, article in arrivals], prices, flagged)


def _articles(script: Script, rng: random.Random) -> list[tuple[int, Outgoing]]:
    """Articles with the time of their arrival (ms)."""
    arrivals = []
    for hour in range(HOURS):
        if hour % 24 in NIGHT:
            continue
        start = START + hour * HOUR
        level = JUMP if hour in script.lags + script.moves else rng.uniform(*CALM)
        for index in range(rng.randint(5, 8)):
            published = start + rng.randrange(HOUR)
            wanted = level + rng.uniform(-0.1, 0.1)
            article = _article(script, f"{hour}-{index}", published, wanted, rng)
            # Feeds are not in order: an article can arrive after a newer one.
            arrivals.append((published + rng.randrange(4 * MINUTE), article))
        if hour in script.repeated:
            published = start + 20 * MINUTE
            article = _article(script, f"{hour}-again", published, REPEATED, rng)
            arrivals += [(published + copy * MINUTE, article) for copy in range(COPIES)]
        if hour in script.late:
            article = _article(script, f"{hour}-late", start + 50 * MINUTE, LATE, rng)
            arrivals.append((start + 3 * HOUR, article))
    return arrivals


def _article(
    script: Script, name: str, published: int, wanted: float, rng: random.Random
) -> Outgoing:
    source, weight = rng.choice(SOURCES)
    score = round(wanted / weight, 3)
    article = {
        "market_slug": script.slug,
        "article_id": f"{script.slug}/{name}",
        "title": f"Synthetic headline {name}: {script.question}",
        "link": f"https://example.org/{script.slug}/{name}",
        "summary": "",
        "published_at": format_ms(published),
        "source": source,
        "source_weight": weight,
        "keywords": ["Fed"],
        "keyword_scores": {"Fed": score},
        "keyword_score": score,
        "fetched_at": format_ms(published + MINUTE),
    }
    return Outgoing(script.slug.encode(), msgspec.json.encode(article), published)


def _prices(script: Script, rng: random.Random) -> list[Outgoing]:
    prices = []
    price = script.first_price
    for hour in range(HOURS):
        previous = price
        step = rng.choice((-1, 1)) * rng.uniform(0.05, 0.08) if hour in script.moves else 0.0
        price = min(0.95, max(0.05, price + step + rng.uniform(-0.008, 0.008)))
        if hour not in script.unpriced:
            prices.append(_price(script.slug, START + hour * HOUR, price, previous))
    return prices


def _price(slug: str, hour: int, price: float, previous: float) -> Outgoing:
    record = Price(
        market_slug=slug,
        outcome="YES",
        price=round(price, 4),
        prev_price=round(previous, 4),
        price_delta=round(price - previous, 4),
        event_time=format_ms(hour),
        fetched_at=format_ms(hour + 2_000),
    )
    return Outgoing(f"{slug}|YES".encode(), msgspec.json.encode(record), hour)
