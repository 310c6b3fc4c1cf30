"""Agents in this process: Faust's test context, real rules and RocksDB, no broker."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from faust.types import TP

from marketlag.application import app
from marketlag.engine.chunk import Chunk
from marketlag.engine.positions import Lease, Point
from marketlag.engine.producer import Producer
from tables.price_hours import price_hours
from tables.rss_baseline import rss_baseline
from tables.rss_hours import rss_hours
from tables.rss_seen import rss_seen
from tests.support.logs import Record


class Sent(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    timestamp: int | None
    partition: int | None = None


class Outbox(Producer):
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.changelog: list[Sent] = []

    async def publish(self, topic: str, value: bytes | None, **options: Any) -> None:
        headers = dict(options.get("headers", ()))
        self.sent.append(Sent(topic, options["key"], value, headers, options.get("timestamp_ms")))

    def write(self, topic: str, value: bytes | None, **options: Any) -> None:
        self.changelog.append(
            Sent(topic, options["key"], value, {}, options["timestamp_ms"], options["partition"])
        )

    async def room(self) -> None:
        """Always."""

    def topic(self, name: str) -> list[Sent]:
        return [each for each in self.sent if each.topic == name]


class Bench:
    """An agent's partition: chunks in, outputs and declared points out."""

    def __init__(self, outbox: Outbox) -> None:
        self.outbox = outbox
        self._leases: dict[tuple[str, int], Lease] = {}
        self._generation = 0

    def begin(self, *points: tuple[str, Point]) -> None:
        """A new generation that starts at these committed points."""
        self._generation += 1
        self._leases = {
            (topic, 0): Lease(TP(topic, 0), self._generation, *point) for topic, point in points
        }
        app.reader.positions.open(self._generation, list(self._leases.values()))

    async def run(self, agent: Any, topic: str, records: Sequence[Record]) -> Point | None:
        lease = self._leases[topic, 0]
        async with agent.test_context() as test:
            await test.put(Chunk(lease, records))
        return lease.declared


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    outbox = Outbox()
    monkeypatch.setattr(app, "_producer", outbox)
    yield Bench(outbox)
    for table in (rss_hours, rss_baseline, price_hours, rss_seen):
        table.data.wipe(0)
