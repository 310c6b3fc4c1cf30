"""What the benchmarks on a real Kafka share: the services, and articles to fill a log with."""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from marketlag.embedded.postgres import EmbeddedPostgres
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import DAY, HOUR, format_ms, parse_ms
from marketlag.migrate import migrate
from marketlag.records import HEARTBEAT
from marketlag.replay.progress import Progress
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.support.kafka.client import Client
from tests.support.kafka.cluster import KafkaCluster

START = parse_ms("2025-01-01T00:00:00Z")
SEND_BATCH = 20_000
READY_SECONDS = 60
#: Retention looks 30 s after the start for the first time, and these records are of January 2025.
#: Segments are as long as in production; the tests' are of two seconds.
BROKER = {"log.initial.task.delay.ms": str(DAY), "log.roll.ms": str(7 * DAY)}


class Services(NamedTuple):
    settings: Settings
    kafka: KafkaCluster
    client: Client
    folder: Path

    def worker(self, name: str) -> WorkerProcess:
        """Start a worker with a state folder of this name."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        env = worker_env(self.settings) | {"MARKETLAG_DATADIR": str(folder / "state")}
        return WorkerProcess(env, folder / "worker.log")


@contextmanager
def services(folder: Path, **chosen: Any) -> Iterator[Services]:
    """A Kafka with the pipeline's topics, and a migrated Postgres."""
    with EmbeddedPostgres() as server, KafkaCluster(settings=BROKER) as cluster:
        migrate(server.dsn)
        settings = load_settings(broker_url=cluster.url, postgres_dsn=server.dsn, **chosen)
        with Client(settings) as client:
            client.create_topics()
            yield Services(settings, cluster, client, folder)


def article(market: str, published: int, rng: random.Random) -> dict[str, Any]:
    """A record of about 450 bytes, as arguments of aiokafka's ``send``."""
    words = ["Fed", "rates", "inflation", "Powell", "markets", "bonds", "outlook", "cut"]
    value = {
        "market_slug": market,
        "article_id": f"{market}-{published}-{rng.random()}",
        "title": " ".join(rng.choices(words, k=9)),
        "link": "https://example.org/news",
        "summary": " ".join(rng.choices(words, k=25)),
        "published_at": format_ms(published),
        "source_weight": 0.9,
        "keyword_score": rng.randrange(0, 9) / 2,
        "fetched_at": format_ms(published),
    }
    return {"topic": RSS_EVENTS, "key": market.encode(), "value": json.dumps(value).encode()}


def heartbeats(partitions: int, time_ms: int) -> list[dict[str, Any]]:
    """To every partition of both inputs: time has come so far (ms)."""
    times = {RSS_EVENTS: "published_at", PRICE_HOURLY: "event_time"}
    return [
        {
            "topic": topic,
            "partition": partition,
            "key": HEARTBEAT.encode(),
            "value": json.dumps({"market_slug": HEARTBEAT, name: format_ms(time_ms)}).encode(),
        }
        for topic, name in times.items()
        for partition in range(partitions)
    ]


def hour(number: int) -> int:
    return START + number * HOUR


def fill(client: Client, records: Iterator[dict[str, Any]]) -> None:
    """Send records in batches, in order."""
    batch: list[dict[str, Any]] = []
    for record in records:
        batch.append(record)
        if len(batch) == SEND_BATCH:
            client.send(batch)
            batch = []
    client.send(batch)


def wait_ready(worker: WorkerProcess) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while "Worker ready" not in worker.log.read_text(errors="replace"):
        worker.check()
        if time.monotonic() > deadline:
            raise SystemExit(f"the worker is not ready after {READY_SECONDS} s: {worker.log}")
        time.sleep(0.05)


def read_so_far(services: Services) -> tuple[int, bool]:
    """Articles that the workers have dealt with, and whether everything has gone through."""
    from marketlag import kafka

    async def ask() -> tuple[int, bool]:
        async with (
            kafka.admin(services.settings) as admin,
            kafka.consumer(services.settings) as consumer,
        ):
            progress = Progress(services.settings, admin, consumer)
            extents = await progress.extents(RSS_EVENTS)
            return sum(extent.done for extent in extents.values()), await progress.is_finished()

    return services.client.run(ask())


def wait_finished(services: Services) -> None:
    while not read_so_far(services)[1]:
        time.sleep(0.3)
