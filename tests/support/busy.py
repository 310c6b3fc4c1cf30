"""A real worker with everything to do: feeds, prices, a channel, records good, late and bad.

Articles and prices are of some hours ago and come from here. The feed's concern no market, and its
heartbeats are of the day before yesterday (``FEED_DELAY``), so they close no window of ours.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families

from marketlag.embedded.broker import MockBroker
from marketlag.embedded.worker import WorkerProcess
from marketlag.event_time import HOUR, MINUTE, format_ms
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import LAG_SIGNALS, PRICE_HOURLY, RSS_EVENTS, partition_of, topic_specs
from tests.support.feeds import FeedItem, clob, gamma_market, markets_toml, rss
from tests.support.kafka.client import Client
from tests.support.kafka.cluster import free_port
from tests.support.logs import article, heartbeat, price
from tests.support.services import QUICK, when_ready
from tests.support.web import WebServer

MARKETS = ("fed", "cpi", "gdp")
HOURS = 10
JUMP = 5
PER_HOUR = 20
TIMEOUT = 60.0

Labels = tuple[tuple[str, str], ...]


class Scrape:
    """What ``/metrics`` said, by sample and labels."""

    def __init__(self, text: str) -> None:
        self.families: set[str] = set()
        self._values: dict[tuple[str, Labels], float] = {}
        for family in text_string_to_metric_families(text):
            self.families.add(family.name)
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                self._values[key] = sample.value

    def total(self, name: str, **labels: str) -> float:
        """The sum over every sample with these labels; fails if there is none."""
        found = self._found(name, labels)
        assert found, (name, labels)
        return sum(found)

    def so_far(self, name: str, **labels: str) -> float:
        """The same of something that may not have happened yet: then 0."""
        return sum(self._found(name, labels))

    def _found(self, name: str, labels: Mapping[str, str]) -> list[float]:
        return [
            value
            for (sample, has), value in self._values.items()
            if sample == name and labels.items() <= dict(has).items()
        ]

    def labels(self, name: str) -> set[Labels]:
        return {labels for sample, labels in self._values if sample == name}


class Busy(NamedTuple):
    """The worker, and what it works with."""

    settings: Settings
    broker: MockBroker
    worker: WorkerProcess
    client: Client
    server: WebServer
    feed: str
    #: The first hour of the articles that ``load`` sends (ms).
    begin: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings.web_port}"

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=10)

    def scrape(self) -> Scrape:
        return Scrape(self.get("/metrics").text)

    def wait_for(self, what: Any, seconds: float = TIMEOUT) -> Any:
        """Ask until the answer is a true one; returns it."""
        deadline = time.monotonic() + seconds
        while not (found := what()):
            self.worker.check()
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.1)
        return found

    def hour(self, number: int) -> int:
        return self.begin + number * HOUR

    # --- what is sent

    def send(self, topic: str, *values: Mapping[str, Any], **options: Any) -> None:
        self.client.send(
            {
                "topic": topic,
                "key": str(value["market_slug"]).encode(),
                "value": msgspec.json.encode(value),
                **options,
            }
            for value in values
        )

    def send_prices(self) -> None:
        """One an hour and market, that stands still."""
        self.send(
            PRICE_HOURLY,
            *(
                price(self.hour(hour), 0.4, 0.0, market_slug=market)
                for hour in range(HOURS)
                for market in MARKETS
            ),
        )

    def send_articles(self) -> int:
        """Twenty an hour and market; in one hour they say much more. Returns how many."""
        values = [
            article(
                self.hour(hour) + minute * MINUTE,
                market,
                article_id=f"{market}-{hour}-{minute}",
                keyword_score=5.0 if hour == JUMP else 1.0,
            )
            for hour in range(HOURS)
            for minute in range(PER_HOUR)
            for market in MARKETS
        ]
        self.send(RSS_EVENTS, *values)
        return len(values)

    def close_hours(self, until: int) -> None:
        """Tell every partition that it is ten past this hour."""
        now = self.hour(until) + 10 * MINUTE
        for partition in range(self.settings.partitions):
            self.send(RSS_EVENTS, heartbeat(now), partition=partition)
            clock = {"market_slug": "__heartbeat__", "event_time": format_ms(now)}
            self.send(PRICE_HOURLY, clock, partition=partition)

    def send_trouble(self) -> None:
        """A duplicate, a late article, three records that no job can use, one that is no row."""
        twice = article(self.hour(HOURS), "fed", article_id="twice")
        self.send(RSS_EVENTS, twice, twice, article(self.hour(1), "fed", article_id="late"))
        self.client.send([{"topic": RSS_EVENTS, "key": b"fed", "value": b"not JSON"}])
        self.send(PRICE_HOURLY, price(self.hour(1), 7.0, market_slug="fed"))
        self.client.send([{"topic": LAG_SIGNALS, "key": b"fed", "value": b"{}"}])

    def send_rows_again(self) -> int:
        """What is in ``lag_signals`` once more; returns how many rows."""
        logs = self.client.logs([LAG_SIGNALS], self.settings.partitions)[LAG_SIGNALS]
        rows = {
            partition: [each for each in log if each.value.startswith(b'{"market"')]
            for partition, log in logs.items()
        }
        self.client.send_again({LAG_SIGNALS: rows})
        return sum(map(len, rows.values()))


@contextmanager
def busy_worker(dsn: str, folder: Path, **chosen: Any) -> Iterator[Busy]:
    """A worker that is ready, with a feed that answers and one that does not."""
    begin = int(time.time() * 1_000) // HOUR * HOUR - 20 * HOUR
    with WebServer() as server:
        feed = _serve(server, begin)
        markets = [
            {"slug": slug, "feeds": [feed, f"{server.url}/away"], "keywords": {"Fed": 1.0}}
            for slug in MARKETS
        ]
        (folder / "markets.toml").write_text(markets_toml(markets))
        hook = f"{server.url.replace('http', 'json')}/desk"
        (folder / "notify.toml").write_text(f'[[channel]]\nname = "desk"\nurl = "{hook}"\n')
        settings = load_settings(
            **{
                **QUICK,
                "postgres_dsn": dsn,
                "datadir": folder / "state",
                "markets": folder / "markets.toml",
                "notify": folder / "notify.toml",
                "notify_max_age": "30d",
                "gamma_url": server.url,
                "clob_url": server.url,
                "rss_poll": "1s",
                "feed_delay": "48h",
                "feed_idle_after": "2s",
                "web_port": free_port(),
                **chosen,
            }
        )
        with MockBroker(topic_specs(settings)) as broker:
            settings = load_settings(
                **settings.model_dump(exclude_unset=True), broker_url=broker.url
            )
            env = worker_env(settings) | {"BLOCK_WHILE": str(folder / "block")}
            module = "tests.support.breakable_worker"
            log = folder / "worker.log"

            def start() -> WorkerProcess:
                return WorkerProcess(env, log, module=module, web=True)

            with when_ready(start) as worker, Client(settings) as client:
                yield Busy(settings, broker, worker, client, server, feed, begin)


def _serve(server: WebServer, begin: int) -> str:
    items = [FeedItem(f"Weather {n}", begin - 40 * HOUR + n * MINUTE, f"id-{n}") for n in range(5)]
    body = rss(items)

    def feed(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"1"':
            return web.Response(status=304)
        return web.Response(body=body, headers={"ETag": '"1"'})

    for slug in MARKETS:
        server.serve(f"/markets/slug/{slug}", gamma_market(slug, ["1", "2"]))
    server.answer("/prices", clob({"1": "0.45", "2": "0.55"}))
    server.serve("/desk", b"")
    return server.answer("/feed", feed)


def partition(settings: Settings, market: str) -> str:
    """The label of a market's partition."""
    return str(partition_of(market, settings.partitions))
