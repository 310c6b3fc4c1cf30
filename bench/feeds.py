"""``make feeds``: one poll cycle of 200 feeds with 50 items each, every tenth of them failing.

A real worker, the embedded broker and Postgres, and feeds on 50 addresses of this machine. Of the
failing feeds a half answers 503, a quarter with a page of HTML, and a quarter not at all.
"""

import asyncio
import tempfile
import time
from pathlib import Path

import psutil
from aiohttp import web

from bench.pipeline import wait_ready
from marketlag.embedded.broker import MockBroker
from marketlag.embedded.postgres import EmbeddedPostgres
from marketlag.embedded.worker import WorkerProcess
from marketlag.migrate import migrate
from marketlag.replay.services import worker_env
from marketlag.settings import load_settings
from marketlag.topics import POLLS, RSS_EVENTS, topic_specs
from tests.support.feeds import FeedItem, markets_toml, rss
from tests.support.kafka.client import Client
from tests.support.web import WebServer

FEEDS = 200
ITEMS = 50
HOSTS = 50
MARKETS = 20
LOOK_SECONDS = 0.5


def body(feed: int) -> bytes:
    now = int(time.time() * 1_000)
    text = "The Fed holds rates, Powell says; bonds and markets wait for the outlook. " * 6
    return rss(
        FeedItem(f"Fed {feed} {n}", now - n * 60_000, f"{feed}-{n}", summary=text)
        for n in range(ITEMS)
    )


async def never(_: web.Request) -> web.Response:
    await asyncio.sleep(3_600)
    return web.Response()


def serve(server: WebServer, feed: int) -> str:
    path = f"/{feed}"
    if feed % 10:
        server.serve(path, body(feed), content_type="application/rss+xml")
    elif feed % 20:
        server.serve(path, "busy", status=503)
    elif feed % 40:
        server.serve(path, "<html><title>Denied</title></html>", content_type="text/html")
    else:
        server.answer(path, never)
    return f"http://127.0.0.{feed % HOSTS + 1}:{server.port}{path}"


def main() -> None:
    with (
        WebServer("0.0.0.0") as server,  # noqa: S104  # all of 127.0.0.0/8
        EmbeddedPostgres() as postgres,
        tempfile.TemporaryDirectory() as name,
    ):
        migrate(postgres.dsn)
        feeds = [serve(server, feed) for feed in range(FEEDS)]
        path = Path(name) / "markets.toml"
        path.write_text(
            markets_toml(
                {"slug": f"m-{n}", "feeds": feeds[n::MARKETS], "keywords": {"Fed": 2.0}}
                for n in range(MARKETS)
            )
        )
        settings = load_settings(markets=path, postgres_dsn=postgres.dsn, rss_poll="1h")
        with MockBroker(topic_specs(settings)) as broker:
            settings = load_settings(
                **settings.model_dump(exclude_unset=True)
                | {"broker_url": broker.url, "datadir": Path(name) / "state"}
                | {"gamma_url": server.url, "clob_url": server.url}
            )
            log = Path(name) / "worker.log"
            with WorkerProcess(worker_env(settings), log) as worker, Client(settings) as client:
                wait_ready(worker)
                measure(worker, client, settings.partitions)


def measure(worker: WorkerProcess, client: Client, partitions: int) -> None:
    began = time.monotonic()
    process = psutil.Process(worker.process.pid)
    most, healthy = 0, 0.0
    while True:
        worker.check()
        most = max(most, process.memory_info().rss)
        logs = client.logs([POLLS, RSS_EVENTS], partitions)
        polled = sum(b'"rss"' in record.value for record in logs[POLLS][0])
        passed = time.monotonic() - began
        if polled >= FEEDS * 9 // 10 and not healthy:
            healthy = passed
        if polled >= FEEDS:
            break
        time.sleep(LOOK_SECONDS)
    articles = sum(b"m-" in record.key for log in logs[RSS_EVENTS].values() for record in log)
    print(
        f"{FEEDS} feeds: the first {FEEDS * 9 // 10} polled after {healthy:.0f} s, all after "
        f"{passed:.0f} s; {articles:,} articles; at most {most / 2**20:.0f} MB resident"
    )


if __name__ == "__main__":
    main()
