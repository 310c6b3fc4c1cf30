"""What the producers remember, and who keeps it: a worker's tables, or the changelogs as such."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import msgspec

from producers.matching import Outbox
from producers.polymarket import PolymarketMarket

Fact = TypeVar("Fact")


class FeedFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A feed. Times in ms.

    Attributes:
        polled_at: start of the newest poll.
        first_polled_at: start of the first poll.
        answered_at: start of the newest poll that it answered, if there was one.
        body_at: when it last gave a body, and not only "nothing new".
        etag, last_modified: of that body.
        not_before: the server asked to be left alone until then.
    """

    polled_at: int
    first_polled_at: int
    answered_at: int | None = None
    body_at: int = 0
    etag: str = ""
    last_modified: str = ""
    not_before: int = 0


class SeenFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An article of a feed, or an item that was refused.

    Attributes:
        last_seen: when it was in the feed (ms; kept to the day).
        outbox: what is to be published of it, until Kafka has confirmed that. It is published as
            it was first read, however often it takes: the same id in the same window.
    """

    last_seen: int
    outbox: Outbox | None = None


class OutcomePrice(msgspec.Struct, frozen=True, kw_only=True):
    """The newest price of an outcome: from which hour (ms), and through which it was told."""

    price: float
    fresh_hour: int
    told_hour: int


class MarketFact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A market. Times in ms.

    Attributes:
        market: as Gamma described it.
        described_at: when Gamma was last asked.
        tried_at: when its prices were last asked for.
    """

    prices: dict[str, OutcomePrice] = {}
    market: PolymarketMarket | None = None
    described_at: int = 0
    tried_at: int = 0


class Facts(Protocol[Fact]):
    """A table of facts by key, in partitions. ``engine.tables.KeyedTable`` is one."""

    def fact(self, partition: int, *key: str) -> Fact | None: ...
    def put(self, partition: int, *key: str, fact: Fact) -> None: ...
    def delete(self, partition: int, *key: str) -> None: ...
    def facts(self, partition: int) -> Iterator[tuple[tuple[str, ...], Fact]]: ...


class Outlet(Protocol):
    """Where records go. ``engine.producer.Producer`` is one."""

    async def publish(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None: ...

    async def flush(self) -> None:
        """Return when Kafka has confirmed all that was published, and all facts."""
        ...


class Tenure(Protocol):
    """The right to poll what belongs to a partition."""

    @property
    def partition(self) -> int: ...
    def is_held(self) -> bool:
        """Whether the partition is still ours. Facts may be written while it is."""
        ...


#: Time in ms; not the machine's in a test that has no hours to wait.
Clock = Callable[[], int]
