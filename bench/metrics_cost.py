"""What metrics cost: Job 1 with them, scraped every second, and with all of them taken out.

Runs alternate, on a real Kafka, over the same log; a run counts only if all its signals are right.

    python -m bench.metrics_cost [--rounds 10] [--events 2000000]
"""

import argparse
import statistics
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contest import Job, Run
from bench.pipeline import services
from bench.speed import Contender, Ring, logs, ours, run_once
from marketlag.topics import RSS_EVENTS
from tests.support.kafka.cluster import free_port

SCRAPE_SECONDS = 1.0
PORT = free_port()


def measured(ring: Ring, number: int, topic: str) -> Job:
    """The worker as it ships, with its web server."""
    job = ours(ring, number, topic)
    return job._replace(
        command=[*job.command, "--with-web"], env={**job.env, "MARKETLAG_WEB_PORT": str(PORT)}
    )


def unmeasured(ring: Ring, number: int, topic: str) -> Job:
    job = ours(ring, number, topic)
    return job._replace(
        command=[part.replace("contenders.ours", "contenders.unmeasured") for part in job.command]
    )


CONTENDERS = (Contender("with metrics", measured), Contender("without", unmeasured))


@contextmanager
def scraping() -> Iterator[list[int]]:
    """Ask for the metrics, as Prometheus does and more often; gives the sizes of the answers."""
    over = threading.Event()
    sizes: list[int] = []

    def scrape() -> None:
        while not over.wait(SCRAPE_SECONDS):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/metrics", timeout=10) as page:
                    sizes.append(len(page.read()))
            except OSError:
                continue  # the other contender's turn

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    runs: dict[str, list[Run]] = {each.name: [] for each in CONTENDERS}
    with (
        tempfile.TemporaryDirectory() as name,
        services(Path(name), partitions=6, startup_delay="100ms") as here,
        logs(here, {options.events}, options.events) as filled,
        scraping() as sizes,
    ):
        for number in range(2 * options.rounds):
            # Whoever is first in one round is last in the next one.
            each = CONTENDERS[(number + number // 2) % 2]
            run = run_once(here, each, filled[options.events], number)
            if run is None:
                sys.exit(1)
            runs[each.name].append(run)
    report(runs, sizes)


def report(runs: dict[str, list[Run]], sizes: list[int]) -> None:
    medians = {name: statistics.median(run.cpu for run in each) for name, each in runs.items()}
    for name, each in runs.items():
        cpus = [run.cpu for run in each]
        print(
            f"{name:>12}: median {medians[name]:.3f} CPU s per million articles of {RSS_EVENTS} "
            f"({min(cpus):.3f} to {max(cpus):.3f}, {len(cpus)} runs)"
        )
    ratio = medians["with metrics"] / medians["without"]
    print(f"metrics cost {100 * (ratio - 1):+.1f} %; scraped {len(sizes)} times")


if __name__ == "__main__":
    main()
