"""What is kept of 60 days of news: facts, changelog, RocksDB and memory, day by day.

State expires by event time, so a replay of history shows it in minutes.

    python -m bench.state [--days 60] [--markets 50] [--every 4]
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from bench.pipeline import Services, article, heartbeats, hour, services, wait_finished, wait_ready
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import MINUTE, format_ms
from marketlag.topics import PRICE_HOURLY, changelog

PARTITIONS = 3
#: Those of the join; the producers' do not depend on event time.
TABLES = ("rss_hours", "rss_baseline", "price_hours")
#: The windows of a TTL and of the baseline's day, after which as much goes as comes.
FULL_AFTER_DAYS = 8
COMPACTION_SECONDS = 4


def day(number: int, markets: int) -> Iterator[dict[str, Any]]:
    """An article and a price an hour and market, and the heartbeats that end the day."""
    rng = random.Random(number)  # noqa: S311 - a workload, not a secret
    for start in (hour(number * 24 + each) for each in range(24)):
        for market in (f"market-{each}" for each in range(markets)):
            yield price(market, start, rng)
            yield article(market, start + rng.randrange(55 * MINUTE), rng)
    yield from heartbeats(PARTITIONS, hour(number * 24 + 24) + 5 * MINUTE)


def price(market: str, start: int, rng: random.Random) -> dict[str, Any]:
    value = {
        "market_slug": market,
        "outcome": "YES",
        "price": rng.random(),
        "price_delta": 0.0,
        "event_time": format_ms(start),
        "fetched_at": format_ms(start),
    }
    key = f"{market}|YES".encode()
    return {"topic": PRICE_HOURLY, "key": key, "value": json.dumps(value).encode()}


class Held(NamedTuple):
    """Facts by table, and sizes in MB."""

    facts: tuple[int, ...]
    changelog: float
    rocksdb: float
    memory: float


def measure(running: Services, worker: WorkerProcess) -> Held:
    names = [changelog(running.settings, table) for table in TABLES]
    time.sleep(COMPACTION_SECONDS)
    logs = running.client.logs(names, PARTITIONS)
    facts = []
    for name in names:
        last = {record.key: record.value for log in logs[name].values() for record in log}
        facts.append(sum(value is not None for value in last.values()))
    (node,) = running.kafka.nodes
    kept = [path for name in names for path in (node.folder / "data").glob(f"{name}-*/*.log")]
    local = [
        path
        for table in TABLES
        for path in (running.folder / "worker" / "state").rglob(f"{table}-*.db/*")
    ]
    return Held(
        tuple(facts),
        sum(path.stat().st_size for path in kept) / 2**20,
        sum(path.stat().st_size for path in local if path.suffix == ".sst") / 2**20,
        psutil.Process(worker.process.pid).memory_info().rss / 2**20,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--markets", type=int, default=50)
    parser.add_argument("--every", type=int, default=4)
    options = parser.parse_args()
    print(f"{'day':>4} {'hours':>7} {'baselines':>9} {'prices':>7}   changelog  RocksDB  memory")
    with (
        tempfile.TemporaryDirectory() as name,
        services(
            Path(name), partitions=PARTITIONS, startup_delay="100ms", sink_max_wait="200ms"
        ) as running,
        running.worker("worker") as worker,
    ):
        wait_ready(worker)
        full: Held | None = None
        for number in range(options.days):
            running.client.send(day(number, options.markets))
            wait_finished(running)
            worker.check()
            if (number + 1) % options.every and number + 1 != options.days:
                continue
            held = measure(running, worker)
            facts = "{:7,} {:9,} {:7,}".format(*held.facts)
            sizes = f"{held.changelog:8.1f} MB {held.rocksdb:5.1f} MB {held.memory:4.0f} MB"
            print(f"{number + 1:4} {facts}  {sizes}", flush=True)
            if number + 1 > FULL_AFTER_DAYS:
                full = full or held
                if held.facts > tuple(round(1.05 * each) for each in full.facts):
                    raise SystemExit("the state still grows")
    print(f"flat after the first {FULL_AFTER_DAYS} days")


if __name__ == "__main__":
    main()
