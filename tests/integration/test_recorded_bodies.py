"""Every recorded body, from a real HTTP server: what is in it is published, or refused once."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from aiohttp import web

from marketlag.event_time import format_ms, parse_ms
from marketlag.markets import Markets
from marketlag.topics import MARKET_META, PRICE_HOURLY
from producers.fetch import ATTEMPTS
from tests.support.feeds import clob_prices
from tests.support.producers import NOON, Producers
from tests.support.realdata import FOLDER, needs_realdata, recorded
from tests.support.web import WebServer

pytestmark = needs_realdata

FEEDS = sorted(path.name for path in (FOLDER / "feeds").glob("*"))
API = sorted(path.stem for path in (FOLDER / "api" / "nautilus").glob("*.json"))


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running, stamina.set_testing(True, attempts=ATTEMPTS):
        yield running


def on_feed(feed: str) -> Markets:
    """One market that any of the recorded articles concerns."""
    keywords = {"wildfires": 1.0, "Federal Reserve": 2.0, "Agencies": 1.0, "Paris": 1.0}
    return Markets.model_validate(
        {"market": [{"slug": "m", "feeds": [feed], "keywords": keywords}]}
    )


async def published(server: WebServer, path: str, content_type: str) -> Producers:
    feed = server.serve("/feed", recorded(path), content_type=content_type)
    async with Producers(on_feed(feed)) as producers:
        await producers.poll(feed)
    return producers


PUBLISHED: dict[str, list[tuple[str, str, str, str]]] = {
    "feeds/bbc_world_trimmed.xml": [
        (
            "https://www.bbc.co.uk/news/articles/cj638jx0l53o#0",
            "Devastating European wildfires in maps",
            "BBC News",
            "2026-07-27T14:21:32Z",
        )
    ],
    "feeds/fed_press_all_trimmed.xml": [
        (
            "https://www.federalreserve.gov/newsevents/pressreleases/bcreg20260716a.htm",
            "Agencies issue joint statement on sensitive information",
            "FRB: Press Release - All Releases",
            "2026-07-16T18:00:00Z",
        )
    ],
    "feeds/google_news_trimmed.xml": [
        (
            "CBMibEFVX3lxTE5kR3lXVW0",
            "Federal Reserve is likely to hold interest rates steady",
            "CNBC",
            "2026-07-27T12:15:01Z",
        )
    ],
    "feeds/access_denied_200.html": [],
}


def test_no_recorded_feed_is_left_out() -> None:
    assert {f"feeds/{name}" for name in FEEDS} == PUBLISHED.keys()


@pytest.mark.parametrize("path", PUBLISHED)
async def test_recorded_feeds(server: WebServer, path: str) -> None:
    """Each article exactly, and a page of HTML as one refusal."""
    producers = await published(server, path, "text/html" if "html" in path else "text/xml")
    assert [
        (a["article_id"], a["title"], a["source"], a["published_at"])
        for a in producers.disk.articles
    ] == PUBLISHED[path]
    assert len(producers.disk.refusals) == (0 if PUBLISHED[path] else 1)


async def test_the_recorded_json_feed(server: WebServer) -> None:
    """Every item of it, its fields as they are in the body."""
    path = "api/rssapp/sample_rssapp_v1.1.json"
    producers = await published(server, path, "application/json; charset=utf-8")
    items = sorted(json.loads(recorded(path))["items"], key=lambda item: item["date_published"])
    wanted = [
        (item["id"], item["title"], item["url"], " ".join(item["content_text"].split()), time)
        for item in items
        if (time := format_ms(parse_ms(item["date_published"])))
    ]
    assert [
        (a["article_id"], a["title"], a["link"], a["summary"], a["published_at"])
        for a in producers.disk.articles
    ] == wanted
    assert producers.disk.refusals == []


def polymarket(server: WebServer, slug: str) -> Producers:
    markets = Markets.model_validate({"market": [{"slug": slug}]})
    return Producers(markets, gamma_url=server.url, clob_url=server.url)


@pytest.mark.parametrize("name", API)
async def test_recorded_answers_of_polymarket(server: WebServer, name: str) -> None:
    """A market is described, and priced while it is open; anything else is one refusal."""
    body = recorded(f"api/nautilus/{name}.json")
    found: Any = json.loads(body)
    is_market = name.startswith("gamma_market")
    slug = found["slug"] if is_market else "some-market"
    server.serve(f"/markets/slug/{slug}", body, content_type="application/json")
    tokens = json.loads(found["clobTokenIds"]) if is_market else []

    async def prices(request: web.Request) -> web.Response:
        return web.Response(body=clob_prices(await request.json(), dict.fromkeys(tokens, "0.029")))

    server.answer("/prices", prices)
    async with polymarket(server, slug) as producers:
        await producers.poll_prices(slug)
    if not is_market:
        assert len(producers.disk.refusals) == 1
        assert producers.disk.refusals[0].startswith(("not a market: ", "market "))
        assert producers.disk.topic(MARKET_META) == producers.disk.topic(PRICE_HOURLY) == []
        return
    assert producers.disk.refusals == []
    [meta] = [each.json for each in producers.disk.topic(MARKET_META)]
    assert meta == {
        "market_slug": slug,
        "question": found["question"],
        "outcomes": json.loads(found["outcomes"]),
        "token_ids": tokens,
        "closed": found["closed"],
        "end_date": found.get("endDate"),
        "condition_id": found.get("conditionId"),
        "fetched_at": format_ms(NOON),
    }
    told = [
        (each.json["outcome"], each.json["price"]) for each in producers.disk.topic(PRICE_HOURLY)
    ]
    open_outcomes = [] if found["closed"] else json.loads(found["outcomes"])
    assert told == [(outcome, 0.029) for outcome in open_outcomes]
