"""Prices over real HTTP to records: one a market, outcome and hour."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from aiohttp import web

from marketlag.event_time import HOUR, MINUTE, format_ms
from marketlag.markets import Markets
from marketlag.topics import MARKET_META, PRICE_HOURLY
from producers.fetch import ATTEMPTS
from tests.support.feeds import clob_prices, gamma_market
from tests.support.producers import NOON, Disk, Killed, Producers
from tests.support.web import WebServer


class FakePolymarket(WebServer):
    """The two APIs on one server.

    Attributes:
        prices: by token.
        fails: a status that ``/prices`` answers instead.
    """

    def __init__(self) -> None:
        super().__init__()
        self.prices: dict[str, str] = {"1": "0.45", "2": "0.55"}
        self.fails: int | None = None
        self.answer("/prices", self._prices)
        self.answer("/midpoints", self._prices)
        self.market("fed", ["1", "2"])

    def market(self, slug: str, tokens: list[str], **options: Any) -> None:
        self.serve(f"/markets/slug/{slug}", gamma_market(slug, tokens, **options))

    async def _prices(self, request: web.Request) -> web.Response:
        if self.fails:
            return web.Response(status=self.fails, text="<html>no</html>")
        return web.Response(body=clob_prices(await request.json(), self.prices))


@pytest.fixture
def server() -> Iterator[FakePolymarket]:
    with FakePolymarket() as running, stamina.set_testing(True, attempts=ATTEMPTS):
        yield running


def producers(server: WebServer, disk: Disk | None = None, **options: Any) -> Producers:
    markets = Markets.model_validate({"market": [{"slug": "fed"}, {"slug": "ecb"}]})
    return Producers(markets, disk, gamma_url=server.url, clob_url=server.url, **options)


def told(disk: Disk) -> list[tuple[str, str, float, float, bool]]:
    """Key, hour, price, delta, stale."""
    return [
        (each.key.decode(), v["event_time"][11:13], v["price"], v["price_delta"], v["stale"])
        for each in disk.topic(PRICE_HOURLY)
        if each.key and (v := each.json)
    ]


async def test_hour_by_hour(server: FakePolymarket) -> None:
    """Both outcomes, strings to numbers, the delta against the hour before, once an hour."""
    async with producers(server) as running:
        running.now = NOON + 3_000
        await running.poll_prices("fed")
        await running.poll_prices("fed")
        server.prices["1"] = "0.5"
        running.next_hour()
        assert running.prices.is_due(running.tenure, "fed")
        await running.poll_prices("fed")
        assert not running.prices.is_due(running.tenure, "fed")
    assert told(running.disk) == [
        ("fed|Yes", "12", 0.45, 0.0, False),
        ("fed|No", "12", 0.55, 0.0, False),
        ("fed|Yes", "13", 0.5, 0.05, False),
        ("fed|No", "13", 0.55, 0.0, False),
    ]
    assert running.disk.topic(PRICE_HOURLY)[0].json == {
        "market_slug": "fed",
        "outcome": "Yes",
        "price": 0.45,
        "prev_price": None,
        "price_delta": 0.0,
        "event_time": format_ms(NOON),
        "fetched_at": format_ms(NOON + 3_000),
        "stale": False,
    }
    assert running.disk.polls == [("fed", format_ms(NOON))] * 2 + [("fed", format_ms(NOON + HOUR))]


async def test_an_hour_that_fails_is_stale_until_it_answers(server: FakePolymarket) -> None:
    """After three retries: the DLQ, a health row, the last price carried on; asked again soon."""
    async with producers(server) as running:
        await running.poll_prices("fed")
        running.next_hour()
        server.fails = 503
        await running.poll_prices("fed")
        assert server.asked["/prices"] == 1 + 4
        assert not running.prices.is_due(running.tenure, "fed")
        running.now += 5 * MINUTE
        assert running.prices.is_due(running.tenure, "fed")
        server.fails = None
        await running.poll_prices("fed")
    assert told(running.disk)[2:] == [
        ("fed|Yes", "13", 0.45, 0.0, True),
        ("fed|No", "13", 0.55, 0.0, True),
        ("fed|Yes", "13", 0.45, 0.0, False),
        ("fed|No", "13", 0.55, 0.0, False),
    ]
    assert running.disk.refusals == ["HTTP 503 Service Unavailable"]
    failed = [row for row in running.health.rows if row[1] == "failed"]
    assert failed == [(f"{server.url}/prices", "failed", "HTTP 503 Service Unavailable")]


async def test_a_token_without_an_answer_is_stale_alone(server: FakePolymarket) -> None:
    async with producers(server) as running:
        await running.poll_prices("fed")
        running.next_hour()
        del server.prices["2"]
        await running.poll_prices("fed")
    assert told(running.disk)[2:] == [
        ("fed|Yes", "13", 0.45, 0.0, False),
        ("fed|No", "13", 0.55, 0.0, True),
    ]


async def test_a_closed_market_is_announced_once_and_left_alone(server: FakePolymarket) -> None:
    """Its clock goes on, so that it holds nothing back."""
    async with producers(server) as running:
        await running.poll_prices("fed")
        server.market("fed", ["1", "2"], closed=True)
        running.now += 29 * MINUTE
        assert not running.prices.is_old(running.tenure, "fed")
        running.now += MINUTE
        assert running.prices.is_old(running.tenure, "fed")
        await running.prices.describe(running.tenure, ["fed"])
        assert not running.prices.is_old(running.tenure, "fed")
        for _ in range(3):
            running.next_hour()
            await running.poll_prices("fed")
            assert not running.prices.is_old(running.tenure, "fed")
    metas = [each.json for each in running.disk.topic(MARKET_META)]
    assert [meta["closed"] for meta in metas] == [False, True]
    assert metas[0] == {
        "market_slug": "fed",
        "question": "Will fed happen?",
        "outcomes": ["Yes", "No"],
        "token_ids": ["1", "2"],
        "closed": False,
        "end_date": "2027-01-01T00:00:00Z",
        "condition_id": "0x1",
        "fetched_at": format_ms(NOON),
    }
    assert (server.asked["/prices"], server.asked["/markets/slug/fed"]) == (1, 2)
    assert len(told(running.disk)) == 2
    assert [time for _, time in running.disk.polls] == [
        format_ms(NOON + hours * HOUR) for hours in range(4)
    ]


async def test_a_market_by_its_event(server: FakePolymarket) -> None:
    """And one with other outcomes than yes and no."""
    market = json.loads(gamma_market("ecb-in-may", ["3", "4"], ["Up", "Down"]))
    server.serve("/events", json.dumps([{"slug": "ecb", "markets": [market]}]))
    server.prices |= {"3": "0.1", "4": "0.9"}
    async with producers(server) as running:
        await running.poll_prices("fed", "ecb")
    assert [key for key, *_ in told(running.disk)] == ["fed|Yes", "fed|No", "ecb|Up", "ecb|Down"]
    assert server.asked["/prices"] == 1


async def test_a_market_that_nobody_knows_is_refused_and_the_others_go_on(
    server: FakePolymarket,
) -> None:
    server.serve("/events", "[]")
    async with producers(server) as running:
        await running.poll_prices("ecb", "fed")
        assert running.disk.refusals == ["Polymarket knows no market and no event 'ecb'"]
        assert [key for key, *_ in told(running.disk)] == ["fed|Yes", "fed|No"]
        running.now += 30 * MINUTE
        assert not running.prices.is_due(running.tenure, "ecb")


async def test_midpoints(server: FakePolymarket) -> None:
    async with producers(server, price_kind="midpoint") as running:
        await running.poll_prices("fed")
    assert server.asked["/midpoints"] == 1
    assert [price for _, _, price, _, _ in told(running.disk)] == [0.45, 0.55]


async def test_killed_at_any_step_the_hour_has_its_price(server: FakePolymarket) -> None:
    """The next life tells it again with a later ``fetched_at``, and the same delta."""
    async with producers(server) as calm:
        await calm.poll_prices("fed")
    for step in range(calm.process.steps):
        disk = Disk()
        async with producers(server, disk, dies_after=step) as first:
            with pytest.raises(Killed):
                await first.poll_prices("fed")
        async with producers(server, disk) as second:
            second.now += MINUTE
            assert second.prices.is_due(second.tenure, "fed")
            await second.poll_prices("fed")
        records = told(disk)
        assert set(records) == {
            ("fed|Yes", "12", 0.45, 0.0, False),
            ("fed|No", "12", 0.55, 0.0, False),
        }
        assert len(records) <= 4
