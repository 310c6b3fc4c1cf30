"""CPU seconds per million articles: our worker, and Job 1 as a plain Faust agent.

Both read the same articles from the embedded broker, one after the other, alternating. The CPU is
user and system time of the worker process from the moment it has its partitions.

    python -m bench.cost [--rounds 3] [--articles 200000] [--plain-articles 10000]
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import psutil

from marketlag import kafka
from marketlag.embedded.broker import SAFE_UNREAD_BYTES, MockBroker
from marketlag.embedded.postgres import EmbeddedPostgres
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import HOUR, format_ms, parse_ms
from marketlag.migrate import migrate
from marketlag.replay.progress import Progress
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import RSS_EVENTS, RSS_LATE, RSS_SIGNALS, TopicSpec, topic_specs

START = parse_ms("2025-01-01T00:00:00Z")
#: Articles in an hour, over all markets.
PER_HOUR = 5_000
BATCH = 5_000
PARTITIONS = 3


class Cost(NamedTuple):
    """CPU seconds per million articles; resident set (MB); articles per second of wall time."""

    cpu: float
    rss: float
    rate: float


def make_articles(count: int) -> list[tuple[bytes, bytes]]:
    """Realistic articles of about 450 bytes; 20 markets, 2 % of them late."""
    rng = random.Random(1)  # noqa: S311 - a workload, not a secret
    words = ["Fed", "rates", "inflation", "Powell", "markets", "bonds", "outlook", "cut"]
    articles = []
    for index in range(count):
        published = START + index * HOUR // PER_HOUR - (4 * HOUR if rng.random() < 0.02 else 0)
        market = f"fed-market-{int(rng.paretovariate(1.2)) % 20}"
        article = {
            "market_slug": market,
            "article_id": f"a-{index}",
            "title": " ".join(rng.choices(words, k=9)),
            "link": f"https://example.org/news/{index}",
            "summary": " ".join(rng.choices(words, k=25)),
            "published_at": format_ms(published),
            "source": "Reuters",
            "source_weight": 0.9,
            "keywords": ["Fed"],
            "keyword_scores": {"Fed": 2.0},
            "keyword_score": 2.0,
            "fetched_at": format_ms(published + 60_000),
        }
        articles.append((market.encode(), json.dumps(article).encode()))
    return articles


async def feed(
    settings: Settings,
    process: psutil.Process,
    articles: list[tuple[bytes, bytes]],
    done: Callable[[Progress], Awaitable[int]],
) -> Cost:
    """Send as fast as the embedded broker can hold unread; measure the worker meanwhile."""
    async with (
        kafka.producer(settings) as producer,
        kafka.admin(settings) as admin,
        kafka.consumer(settings) as consumer,
    ):
        progress = Progress(settings, admin, consumer)
        size = sum(len(value) for _, value in articles) / len(articles) + 100
        most_unread = int(1.2 * PARTITIONS * SAFE_UNREAD_BYTES / size)
        before, started, rss = process.cpu_times(), time.monotonic(), 0
        sent = 0
        while (read := await done(progress)) < len(articles):
            rss = max(rss, process.memory_info().rss)
            while sent < len(articles) and sent - read + BATCH <= most_unread:
                batch = articles[sent : sent + BATCH]
                futures = [await producer.send(RSS_EVENTS, v, key=k) for k, v in batch]
                await asyncio.gather(*futures)
                sent += len(batch)
            await asyncio.sleep(0.02)
        wall = time.monotonic() - started
        after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return Cost(cpu / len(articles) * 1e6, rss / 2**20, len(articles) / wall)


def ours(articles: list[tuple[bytes, bytes]], dsn: str, folder: Path) -> Cost:
    """The whole worker, with its four agents."""
    settings = load_settings(partitions=PARTITIONS)
    with MockBroker(topic_specs(settings)) as broker:
        settings = load_settings(
            partitions=PARTITIONS,
            broker_url=broker.url,
            postgres_dsn=dsn,
            datadir=folder / "state",
            startup_delay="100ms",
            fetch_max_wait="50ms",
            commit_interval="100ms",
            on_truncated_log="fail",
        )
        with WorkerProcess(worker_env(settings), folder / "ours.log") as worker:
            wait_for(folder / "ours.log", worker.process)

            async def done(progress: Progress) -> int:
                worker.check()
                return sum(e.done for e in (await progress.extents(RSS_EVENTS)).values())

            return asyncio.run(feed(settings, psutil.Process(worker.process.pid), articles, done))


def plain(articles: list[tuple[bytes, bytes]], folder: Path) -> Cost:
    """The plain agent."""
    names = (RSS_EVENTS, RSS_LATE, RSS_SIGNALS, "plain-hours-changelog", "plain-seen-changelog")
    topics = [TopicSpec(name, PARTITIONS, None) for name in names]
    with MockBroker(topics) as broker:
        settings = load_settings(partitions=PARTITIONS, broker_url=broker.url, app_id="plain")
        env = {
            "PLAIN_BROKER": broker.url.replace("kafka://", "aiokafka://"),
            "PLAIN_DATADIR": str(folder / "plain"),
        }
        log = folder / "plain.log"
        command = [sys.executable, "-m", "faust", "-A", "bench.plain_agent", "worker"]
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, "-l", "info", "--without-web"],
                env={**os.environ, **env},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(log, process)

            async def done(progress: Progress) -> int:
                return sum(e.done for e in (await progress.extents(RSS_EVENTS)).values())

            return asyncio.run(feed(settings, psutil.Process(process.pid), articles, done))
        finally:
            process.kill()
            process.wait()


def wait_for(log: Path, process: "subprocess.Popen[bytes]") -> None:
    while "Worker ready" not in log.read_text(errors="replace"):
        if process.poll() is not None:
            raise SystemExit(log.read_text(errors="replace")[-3000:])
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--articles", type=int, default=200_000)
    parser.add_argument("--plain-articles", type=int, default=10_000)
    options = parser.parse_args()
    articles = make_articles(options.articles)
    results: dict[str, list[Cost]] = {"ours": [], "plain Faust agent": []}
    with EmbeddedPostgres() as server:
        migrate(server.dsn)
        for _ in range(options.rounds):
            with tempfile.TemporaryDirectory() as name:
                results["ours"].append(ours(articles, server.dsn, Path(name)))
                results["plain Faust agent"].append(
                    plain(articles[: options.plain_articles], Path(name))
                )
    medians = {}
    for name, costs in results.items():
        cpu, rss, rate = (statistics.median(figure) for figure in zip(*costs, strict=True))
        medians[name] = cpu
        print(f"{name:>18}: {cpu:8.1f} CPU s per million, {rss:5.0f} MB, {rate:8.0f} articles/s")
    ratios = [b.cpu / a.cpu for a, b in zip(*results.values(), strict=True)]
    print(f"ratio, round by round: {', '.join(f'{ratio:.0f}' for ratio in ratios)}")


if __name__ == "__main__":
    main()
