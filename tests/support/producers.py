"""The producers in this process: real HTTP, facts as a changelog keeps them, records in a list."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

import msgspec

from marketlag.event_time import HOUR, parse_ms
from marketlag.markets import Markets
from marketlag.settings import Settings, load_settings
from marketlag.topics import POLLS, RSS_EVENTS, dlq
from producers.feeds import FeedProducer
from producers.fetch import Fetcher
from producers.matching import Matcher
from producers.prices import Polymarket, PriceProducer
from producers.publish import HealthLog
from producers.state import FeedFact, MarketFact, SeenFact

Fact = TypeVar("Fact", bound=msgspec.Struct)
NOON = parse_ms("2026-08-01T12:00:00Z")


class Killed(BaseException):
    """The process is gone: nothing after this happens."""


class Published(msgspec.Struct, frozen=True):
    topic: str
    key: bytes | None
    value: bytes
    headers: dict[str, bytes]

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.value)


@dataclass
class Disk:
    """What outlives a process: Kafka's logs, changelogs among them."""

    log: list[Published] = field(default_factory=list)
    facts: dict[tuple[str, int, tuple[str, ...]], bytes] = field(default_factory=dict)
    largest_fact: int = 0

    def topic(self, name: str) -> list[Published]:
        return [each for each in self.log if each.topic == name]

    @property
    def articles(self) -> list[Any]:
        return [each.json for each in self.topic(RSS_EVENTS)]

    @property
    def refusals(self) -> list[str]:
        refused = [
            each
            for name in ("rss.events", "polymarket.price_hourly")
            for each in self.topic(dlq(name))
        ]
        return [each.headers["error"].decode() for each in refused]

    @property
    def polls(self) -> list[tuple[str, str | None]]:
        return [(each.json["source"], each.json["answered_at"]) for each in self.topic(POLLS)]


class Process:
    """One life of a producer. It can be killed at any of its steps.

    What was handed over and not flushed may or may not have reached Kafka; here it has, up to the
    step at which the process was killed.
    """

    def __init__(self, disk: Disk, dies_after: int | None = None) -> None:
        self.disk = disk
        self.steps = 0
        self._dies_after = dies_after

    def step(self) -> None:
        if self.steps == self._dies_after:
            raise Killed
        self.steps += 1

    async def publish(
        self, topic: str, value: bytes | None, *, key: bytes | None, **options: Any
    ) -> None:
        self.step()
        headers: Sequence[tuple[str, bytes]] = options.get("headers", ())
        self.disk.log.append(Published(topic, key, value or b"", dict(headers)))

    async def flush(self) -> None:
        self.step()


class MemoryFacts(Generic[Fact]):
    """A table whose changelog is on the disk."""

    def __init__(self, name: str, fact: type[Fact], process: Process) -> None:
        self._name = name
        self._decode = msgspec.json.Decoder(fact).decode
        self._process = process

    def fact(self, partition: int, *key: str) -> Fact | None:
        found = self._process.disk.facts.get((self._name, partition, key))
        return None if found is None else self._decode(found)

    def put(self, partition: int, *key: str, fact: Fact) -> None:
        self._process.step()
        value = msgspec.json.encode(fact)
        disk = self._process.disk
        disk.facts[self._name, partition, key] = value
        disk.largest_fact = max(disk.largest_fact, len(value))

    def delete(self, partition: int, *key: str) -> None:
        del self._process.disk.facts[self._name, partition, key]

    def facts(self, partition: int) -> Iterator[tuple[tuple[str, ...], Fact]]:
        for (name, number, key), fact in list(self._process.disk.facts.items()):
            if (name, number) == (self._name, partition):
                yield key, self._decode(fact)


class HeldTenure:
    partition = 0

    def __init__(self) -> None:
        self.held = True

    def is_held(self) -> bool:
        return self.held


class NoHealth(HealthLog):
    """Keeps the rows."""

    def __init__(self) -> None:
        super().__init__("", lambda: NOON)

    @property
    def rows(self) -> list[tuple[str, str, str | None]]:
        return [(source, status, error) for source, status, _, error, _ in self._waiting]


class Producers:
    """Both producers over one disk, with a clock to be set."""

    def __init__(
        self,
        markets: Markets,
        disk: Disk | None = None,
        *,
        dies_after: int | None = None,
        **chosen: Any,
    ) -> None:
        self.settings: Settings = load_settings(partitions=1, **chosen)
        self.disk = disk or Disk()
        self.process = Process(self.disk, dies_after)
        self.now = NOON
        self.tenure = HeldTenure()
        self.health = NoHealth()
        self._markets = markets

    async def __aenter__(self) -> Self:
        self.fetcher = Fetcher(self.settings)
        shared = {"outlet": self.process, "clock": lambda: self.now}
        self.feeds = FeedProducer(
            self.settings,
            self._markets.feeds,
            Matcher(self._markets),
            known=MemoryFacts("rss_feeds", FeedFact, self.process),
            seen=MemoryFacts("rss_seen", SeenFact, self.process),
            fetcher=self.fetcher,
            health=self.health,
            **shared,  # type: ignore[arg-type]
        )
        self.prices = PriceProducer(
            self.settings,
            known=MemoryFacts("last_prices", MarketFact, self.process),
            api=Polymarket(self.settings, self.fetcher, self.health),
            **shared,  # type: ignore[arg-type]
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.fetcher.__aexit__()

    async def poll(self, feed: str) -> None:
        await self.feeds.poll(self.tenure, feed)

    async def poll_prices(self, *slugs: str) -> None:
        await self.prices.poll(self.tenure, slugs)

    def next_hour(self) -> None:
        self.now = self.now // HOUR * HOUR + HOUR
