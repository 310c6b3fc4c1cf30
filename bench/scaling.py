"""Articles per second of one, two and three workers over the same log of six partitions.

The rows have to be the same. On a machine with two cores the third worker has none of its own.

    python -m bench.scaling [--articles 2000000]
"""

import argparse
import hashlib
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.pipeline import Services, read_so_far, services, wait_finished, wait_ready
from bench.workload import Load, fill
from marketlag.topics import RSS_EVENTS
from tests.support.services import query

PER_HOUR = 10_000


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
    parser.add_argument("--articles", type=int, default=2_000_000)
    options = parser.parse_args()
    load = Load(options.articles, markets=120, hours=options.articles // PER_HOUR)
    seen = set()
    for workers in (1, 2, 3):
        with (
            tempfile.TemporaryDirectory() as name,
            # All of them join before any of them begins.
            services(Path(name), partitions=load.partitions, startup_delay="4s") as running,
        ):
            running.client.run(fill(running.settings, RSS_EVENTS, load), timeout=3_600)
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
