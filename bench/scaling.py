"""Articles per second of one, two and three workers over the same log of six partitions.

The rows have to be the same. On a machine with two cores the third worker has none of its own.

    python -m bench.scaling [--articles 600000]
"""

import argparse
import hashlib
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench.pipeline import (
    Services,
    article,
    fill,
    heartbeats,
    hour,
    read_so_far,
    services,
    wait_finished,
    wait_ready,
)
from marketlag.event_time import HOUR
from tests.support.services import query

PARTITIONS = 6
MARKETS = 120
PER_HOUR = 10_000


def log(articles: int, arrival: int) -> Iterator[dict[str, Any]]:
    """The same log at every call; *arrival* is its records' timestamp (ms), a part of every row."""
    rng = random.Random(1)  # noqa: S311 - a workload, not a secret
    for index in range(articles):
        published = hour(0) + index * HOUR // PER_HOUR
        record = article(f"market-{rng.randrange(MARKETS)}", published, rng)
        yield record | {"timestamp_ms": arrival}
    for beat in heartbeats(PARTITIONS, hour(articles // PER_HOUR + 3)):
        yield beat | {"timestamp_ms": arrival}


def rate(running: Services, workers: int, articles: int) -> float:
    """Articles per second from the moment that all workers are ready, to nine tenths of the log."""
    with ExitStack() as stack:
        group = [
            stack.enter_context(running.worker(f"{workers}-{number}")) for number in range(workers)
        ]
        for worker in group:
            wait_ready(worker)
        began, first = time.monotonic(), read_so_far(running)[0]
        while (done := read_so_far(running)[0]) < 0.9 * articles:
            time.sleep(0.1)
        found = (done - first) / (time.monotonic() - began)
        wait_finished(running)
    return found


def fingerprint(running: Services) -> tuple[int, str]:
    """Number and digest of the rows, without the database's own clocks."""
    rows = query(
        running.settings.postgres_dsn.get_secret_value(),
        "SELECT to_jsonb(r) - 'created_at' - 'updated_at' FROM lag_signals_history AS r "
        'ORDER BY market, "window"',
    )
    return len(rows), hashlib.sha256(repr([row[0] for row in rows]).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--articles", type=int, default=600_000)
    options = parser.parse_args()
    seen = set()
    arrival = int(time.time() * 1000)
    for workers in (1, 2, 3):
        with (
            tempfile.TemporaryDirectory() as name,
            # All of them join before any of them begins.
            services(Path(name), partitions=PARTITIONS, startup_delay="4s") as running,
        ):
            fill(running.client, log(options.articles, arrival))
            found = rate(running, workers, options.articles)
            rows, digest = fingerprint(running)
            seen.add((rows, digest))
        print(
            f"{workers} workers: {found:8.0f} articles/s, {rows} rows, digest {digest}", flush=True
        )
    if len(seen) > 1:
        raise SystemExit("the rows differ")


if __name__ == "__main__":
    main()
