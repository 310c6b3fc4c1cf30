"""``python -m bench.feed_delay newsapi.csv``: the articles that each delay would lose.

The CSV has ``first_seen_unix`` and ``published_at``. An article is lost to its hour if it is first
polled after the poll whose heartbeat closes the window: the hour's end plus ``WATERMARK_DELAY`` (5
min) plus ``FEED_DELAY``. Polls are every 15 minutes; a heartbeat follows the articles of its poll.

Whoever wrote the CSV looked only now and then. An article came to its feed after the look before
the one that found it, so each figure is between two bounds.
"""

import csv
import sys
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

from marketlag.event_time import DAY, HOUR, MINUTE, SECOND, parse_ms

POLL = 15 * MINUTE
WATERMARK_DELAY = 5 * MINUTE
DELAYS = {
    "0": 0,
    "15m": 15 * MINUTE,
    "1h": HOUR,
    "3h": 3 * HOUR,
    "6h": 6 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "2d": 2 * DAY,
}


class Seen(NamedTuple):
    """An article: published, in its feed at the earliest, in its feed for certain (ms)."""

    published: int
    earliest: int
    latest: int


def poll_at_or_after(time: int) -> int:
    return -(-time // POLL) * POLL


def is_lost(published: int, seen: int, delay: int) -> bool:
    end = published // HOUR * HOUR + HOUR
    return poll_at_or_after(seen) > poll_at_or_after(end + WATERMARK_DELAY + delay)


def read(path: Path) -> list[Seen]:
    with path.open(encoding="utf-8", newline="") as file:
        times = [
            (parse_ms(row["published_at"]), int(row["first_seen_unix"]) * SECOND)
            for row in csv.DictReader(file)
        ]
    looks = sorted({seen for _, seen in times})
    found = []
    for published, seen in times:
        index = bisect_left(looks, seen)
        before = looks[index - 1] if index else published
        found.append(Seen(published, max(published, before), seen))
    return found


def main() -> None:
    articles = read(Path(sys.argv[1]))
    print(f"{len(articles):,} articles; lost at least, and at most:")
    for name, delay in DELAYS.items():
        least = sum(is_lost(each.published, each.earliest, delay) for each in articles)
        most = sum(is_lost(each.published, each.latest, delay) for each in articles)
        print(f"{name:>4}  {least / len(articles):6.1%}  {most / len(articles):6.1%}")


if __name__ == "__main__":
    main()
