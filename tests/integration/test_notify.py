"""Flagged hours are told to channels, on a real PostgreSQL, over real HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import asyncpg
import pytest
from aiohttp import web

from marketlag.event_time import HOUR, MINUTE, format_ms
from marketlag.flags import Row
from marketlag.history import lag_history
from marketlag.notify.articles import articles_behind
from marketlag.notify.channels import Channel
from marketlag.notify.message import Behind
from marketlag.notify.notifier import Notifier, sender
from marketlag.postgres import Database, connected
from marketlag.settings import load_settings
from marketlag.topics import RSS_EVENTS
from tests.integration.test_postgres import row
from tests.support.kafka.client import Client
from tests.support.logs import article, record
from tests.support.services import pipeline
from tests.support.web import WebServer

NOW = int(time.time() * 1_000)
#: The newest hour that is over.
WINDOW = NOW // HOUR * HOUR - HOUR


class Hook:
    """A webhook; what it was told, by title."""

    def __init__(self, server: WebServer, path: str) -> None:
        self.status = 200
        self.told: list[dict[str, Any]] = []
        self.url = server.answer(path, self._take).replace("http://", "json://")

    async def _take(self, request: web.Request) -> web.Response:
        if self.status == 200:
            self.told.append(await request.json())
        return web.Response(status=self.status)

    @property
    def markets(self) -> list[str]:
        return [each["title"].split(":")[0] for each in self.told]


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as found:
        yield found


@pytest.fixture
def hook(server: WebServer) -> Hook:
    return Hook(server, "/desk")


class Desk(NamedTuple):
    """A database with lag rows, and somebody who reads them."""

    dsn: str
    database: Database
    connection: asyncpg.Connection

    async def flag(self, market: str = "m", version: int = 1, **fields: Any) -> None:
        """A row of the newest hour: flagged, with a fresh price, unless told."""
        base = {
            "window": format_ms(WINDOW),
            "detected_at": format_ms(NOW),
            "lag_flag": True,
            "confidence": 0.9,
            "price": 0.25,
            "stale": False,
        }
        await lag_history(self.database).upsert([row(market, version, **{**base, **fields})])

    def notifier(self, hook: Hook, settings: dict[str, Any] | None = None, **of: Any) -> Notifier:
        channel = Channel(name=of.pop("name", "desk"), url=hook.url, **of)
        return Notifier(
            channel,
            load_settings(postgres_dsn=self.dsn, **(settings or {})),
            {"m": "Will it?"},
            send=sender(channel),
            articles=articles,
        )

    async def tell(self, hook: Hook, settings: dict[str, Any] | None = None, **of: Any) -> int:
        return await self.notifier(hook, settings, **of).tell_due(self.connection)


async def articles(_: Row) -> list[Behind]:
    return [Behind(f"title {n}", f"https://news/{n}", 9.0 - n) for n in range(7)]


@pytest.fixture
async def desk(database: str) -> AsyncIterator[Desk]:
    async with opened(database) as found:
        yield found


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Desk]:
    writing = Database(dsn)
    async with connected(dsn) as connection:
        yield Desk(dsn, writing, connection)
    await writing.close()


async def test_a_message_says_what_there_is_to_know(desk: Desk, hook: Hook) -> None:
    """Market, question, hour, signal, price, confidence, the articles that weigh most."""
    await desk.flag(
        rss_signal=3.2,
        signal_delta=2.53,
        signal_zscore=12.06,
        mention_count=7,
        price=0.368,
        price_delta=-0.005,
        outcome="Yes",
    )
    assert await desk.tell(hook) == 1
    [told] = hook.told
    hour = datetime.fromtimestamp(WINDOW / 1_000, UTC)
    assert told["title"] == "m: the news jumped, the price did not"
    assert told["message"].splitlines() == [
        "Will it?",
        f"Hour: {hour:%Y-%m-%d %H:%M} UTC, confidence 0.90",
        "News: signal 3.20 (+2.53 on the hour before, z +12.1), 7 articles",
        "Price: Yes 0.368 (-0.005)",
        *[f"- title {n} https://news/{n}" for n in range(5)],
        "- and 2 more",
    ]


async def test_an_hour_is_told_once_however_often_its_row_comes(desk: Desk, hook: Hook) -> None:
    """Newer versions of a row are no news, and rows without a flag are none either."""
    await desk.flag()
    await desk.flag("quiet", lag_flag=False)
    assert await desk.tell(hook) == 1
    await desk.flag(version=2, price=0.26)
    assert await desk.tell(hook) == 0
    assert hook.markets == ["m"]


async def test_a_channel_hears_of_its_markets_and_confidence(desk: Desk, hook: Hook) -> None:
    """Patterns of slugs; a confidence that is just enough is enough."""
    for market, confidence in (("fed-cuts", 0.8), ("fed-holds", 0.79), ("mayor", 0.99)):
        await desk.flag(market, confidence=confidence)
    await desk.tell(hook, markets=["fed-*"], min_confidence=0.8)
    assert hook.markets == ["fed-cuts"]
    await desk.tell(hook, name="all")
    assert sorted(hook.markets[1:]) == ["fed-cuts", "fed-holds", "mayor"]


async def test_a_missing_price_has_its_grace(desk: Desk, hook: Hook) -> None:
    """Within it nothing is told; a price that comes lets the row speak, or takes the flag."""
    waiting = {"notify_grace": "1h"}
    for market in ("m", "moved", "never"):
        await desk.flag(market, price=None, stale=None)
    assert await desk.tell(hook, waiting) == 0
    await desk.flag(version=2, price=0.3)
    await desk.flag("moved", version=2, price=0.5, lag_flag=False)
    assert await desk.tell(hook, waiting) == 1
    assert hook.markets == ["m"]
    assert await desk.tell(hook, {"notify_grace": "0"}) == 1
    assert hook.markets == ["m", "never"]
    assert "Price: nobody gave one for YES in this hour" in hook.told[1]["message"]


async def test_a_stale_price_is_told_only_to_those_who_ask(desk: Desk, hook: Hook) -> None:
    """However long it stays stale."""
    await desk.flag(stale=True)
    assert await desk.tell(hook, {"notify_grace": "0"}) == 0
    assert await desk.tell(hook, name="asks", stale=True) == 1
    assert "carried on: nobody gave one" in hook.told[0]["message"]
    await desk.flag(version=2, stale=False)
    assert await desk.tell(hook) == 1


async def test_replayed_history_is_no_news(desk: Desk, hook: Hook) -> None:
    """What counts is the window's age, not the row's."""
    await desk.flag("old", window=format_ms(WINDOW - 7 * HOUR))
    assert await desk.tell(hook) == 0
    assert await desk.tell(hook, {"notify_max_age": "12h"}) == 1


async def test_a_channel_that_fails_holds_nobody_back(
    desk: Desk, hook: Hook, server: WebServer
) -> None:
    """It is tried again later, and then told once; the other one has long heard."""
    other = Hook(server, "/other")
    hook.status = 500
    await desk.flag()
    assert await desk.tell(hook) == 1
    assert await desk.tell(other, name="other") == 1
    assert other.markets == ["m"]
    assert await desk.tell(hook) == 0  # not at once
    [state] = await desk.connection.fetch("SELECT * FROM notifications WHERE channel = 'desk'")
    assert (state["attempts"], state["sent_at"]) == (1, None)
    await desk.connection.execute("UPDATE notifications SET not_before = now()")
    hook.status = 200
    assert await desk.tell(hook) == 1
    assert await desk.tell(hook) == 0
    assert hook.markets == ["m"]


async def test_a_channel_that_hangs_is_given_up(
    desk: Desk, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its time, as one that fails."""
    monkeypatch.setattr("marketlag.notify.notifier.SEND_SECONDS", 0.05)
    notifier = desk.notifier(hook)

    async def hanging(_: object) -> bool:
        await asyncio.Event().wait()
        return True

    monkeypatch.setattr(notifier, "_send", hanging)
    await desk.flag()
    assert await notifier.tell_due(desk.connection) == 1
    assert await desk.connection.fetchval("SELECT sent_at FROM notifications") is None


async def test_several_workers_tell_once(desk: Desk, hook: Hook) -> None:
    """Forty hours, four at a time: each is claimed by one of them."""
    for number in range(40):
        await desk.flag(f"market-{number}")

    async def one() -> None:
        notifier = desk.notifier(hook)
        async with connected(desk.dsn) as connection:
            while await notifier.tell_due(connection):
                pass

    await asyncio.gather(*(one() for _ in range(4)))
    assert sorted(hook.markets) == sorted(f"market-{number}" for number in range(40))


async def test_what_a_dead_worker_had_claimed_is_told_by_another(desk: Desk, hook: Hook) -> None:
    """When the claim is over, not before."""
    await desk.flag()
    await desk.notifier(hook)._outbox.claim(desk.connection)
    assert await desk.tell(hook) == 0
    await desk.connection.execute("UPDATE notifications SET not_before = now()")
    assert await desk.tell(hook) == 1
    assert hook.markets == ["m"]


async def test_a_flag_that_was_taken_back_after_a_failure_is_not_told(
    desk: Desk, hook: Hook
) -> None:
    """It is looked at again right before it is told."""
    await desk.flag()
    notifier = desk.notifier(hook)
    claims = await notifier._outbox.claim(desk.connection)
    await desk.flag(version=2, lag_flag=False)
    assert await notifier._outbox.row(desk.connection, claims[0]) is None
    await desk.connection.execute("UPDATE notifications SET not_before = now()")
    assert await desk.tell(hook) == 0
    assert hook.told == []


def test_the_articles_behind_an_hour_are_found_in_the_log(database: str) -> None:
    """Those of the market and the window, each once, the heaviest first; none that came later."""
    start = WINDOW
    counted = [
        article(start, article_id="a", title="light", link="https://a", keyword_score=1.0),
        article(start + HOUR - 1, article_id="b", title="heavy", link="https://b"),
        article(start + 5 * MINUTE, article_id="b", title="again", link="https://b"),
        article(start - 1, article_id="c", title="before"),
        article(start + HOUR, article_id="d", title="after"),
        article(start + MINUTE, "other", article_id="e", title="of another market"),
    ]
    counted[1]["keyword_score"] = 5.0
    late = article(start + 2 * MINUTE, article_id="f", title="too late")
    with pipeline(database, partitions=3) as settings, Client(settings) as client:
        arrives = start + HOUR + 5 * MINUTE
        sent = [(value, arrives) for value in counted] + [(late, arrives + 1)]
        client.send(
            {
                "topic": RSS_EVENTS,
                "key": made.key,
                "value": made.value,
                "timestamp_ms": timestamp,
            }
            for value, timestamp in sent
            for made in [record(0, value)]
        )
        at = datetime.fromtimestamp(start / 1_000, UTC)
        until = datetime.fromtimestamp(arrives / 1_000, UTC)
        found = asyncio.run(articles_behind(settings, "m", at, until))
        assert found == [Behind("heavy", "https://b", 5.0), Behind("light", "https://a", 1.0)]
        assert asyncio.run(articles_behind(settings, "nobody", at, until)) == []
