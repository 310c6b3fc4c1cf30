"""Fresh cases by seed, within what Flink and ours have in common.

No article twice, one price an hour and outcome, no market silent for 7 days; late articles, quiet
hours, missing prices, heartbeats, times to the millisecond.
"""

import random
from collections.abc import Iterator

from bench.flink.runner import Row
from marketlag.event_time import DAY, HOUR, MINUTE, format_ms, parse_ms
from marketlag.records import HEARTBEAT
from tests.support.logs import article, heartbeat, price

START = parse_ms("2025-03-01T00:00:00Z")
#: Arrives this long after it was published.
DELAYS = (0, 0, 0, 1, 4 * MINUTE, 6 * MINUTE, 50 * MINUTE, 3 * HOUR, 30 * HOUR)


def generated(seed: int) -> tuple[list[Row], list[Row]]:
    """Articles in order of arrival, and prices."""
    rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
    markets = [f"market-{number}" for number in range(rng.randrange(2, 8))]
    days = rng.randrange(3, 25)
    sent = [each for market in markets for each in _articles(rng, market, days)]
    sent += [
        (at, heartbeat(at - rng.randrange(HOUR)))
        for at in (START + rng.randrange(days * DAY) for _ in range(days))
    ]
    sent.sort(key=lambda each: each[0])
    hours = [START + hour * HOUR for hour in range(days * 24)]
    prices: list[Row] = []
    for hour in hours:
        prices += [each for market in markets for each in _prices(rng, market, hour)]
        if rng.random() < 0.2:
            prices.append({"market_slug": HEARTBEAT, "event_time": format_ms(hour)})
    return [value for _, value in sent], prices


def _articles(rng: random.Random, market: str, days: int) -> Iterator[tuple[int, Row]]:
    rate = rng.choice([1, 4, 20, 60])
    for day in range(days):
        # At least one on each day, so that no two windows are 7 days apart.
        for number in range(rng.randrange(1, 2 * rate + 1)):
            published = START + day * DAY + rng.randrange(DAY)
            if rng.random() < 0.05:
                published = published // HOUR * HOUR + rng.choice([0, HOUR - 1])
            delay = rng.choice(DELAYS) if number else 0
            value = article(
                published,
                market,
                article_id=f"{market}-{day}-{number}",
                keyword_score=rng.choice([0.0, 1.0, round(rng.uniform(-1, 8), 3), rng.random()]),
                source_weight=rng.choice([0.35, 0.7, 0.9, 1.0, 1.2, round(rng.random(), 2)]),
            )
            yield published + delay, value


def _prices(rng: random.Random, market: str, hour: int) -> Iterator[Row]:
    for outcome in ("YES", "NO"):
        if rng.random() < 0.85:
            yield price(
                hour,
                round(rng.uniform(-0.05, 1.05), 4),
                rng.choice([None, 0.0, 0.02, -0.02, rng.uniform(-0.05, 0.05)]),
                market_slug=market,
                outcome=outcome,
                prev_price=rng.choice([None, rng.random()]),
                fetched_at=format_ms(hour + rng.randrange(HOUR)),
                stale=rng.random() < 0.1,
            )
