"""Feeds over real HTTP to records: each article once, whatever happens in between."""

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import stamina
from aiohttp import web

from marketlag.event_time import DAY, HOUR, MINUTE, format_ms
from marketlag.markets import Markets
from producers.fetch import ATTEMPTS
from producers.rss import Parsed
from tests.support.feeds import FeedItem, rss
from tests.support.producers import NOON, Disk, Killed, Producers
from tests.support.web import WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running, stamina.set_testing(True, attempts=ATTEMPTS):
        yield running


def markets(*feeds: str, **more: Any) -> Markets:
    """Two markets on the same feeds."""
    return Markets.model_validate(
        {
            "sources": {"Reuters": 1.0, "ft.com": 0.9},
            "market": [
                {"slug": "fed", "feeds": feeds, "keywords": {"Fed": 2.0, "dovish": -1.5}},
                {"slug": "ecb", "feeds": feeds, "keywords": {"ECB": 1.0}},
            ],
            **more,
        }
    )


ITEMS = [
    FeedItem("Fed is dovish - Reuters", NOON - HOUR, "1", "https://ft.com/1", "The Fed said so"),
    FeedItem("Fed and ECB", NOON - 2 * HOUR, "2"),
    FeedItem("Weather", NOON, "3"),
]


async def test_an_article_is_a_record_for_each_market_that_it_concerns(server: WebServer) -> None:
    """The oldest first; with score, keywords and weight; what concerns nobody is no record."""
    feed = server.serve("/feed", rss(ITEMS))
    async with Producers(markets(feed)) as producers:
        await producers.poll(feed)
    assert [(a["market_slug"], a["article_id"]) for a in producers.disk.articles] == [
        ("fed", "2"),
        ("ecb", "2"),
        ("fed", "1"),
    ]
    assert producers.disk.articles[2] == {
        "market_slug": "fed",
        "article_id": "1",
        "title": "Fed is dovish",
        "link": "https://ft.com/1",
        "summary": "The Fed said so",
        "published_at": format_ms(NOON - HOUR),
        "source": "Reuters",
        "source_weight": 1.0,
        "keywords": ["Fed", "dovish"],
        "keyword_scores": {"Fed": 4.0, "dovish": -1.5},
        "keyword_score": 2.5,
        "fetched_at": format_ms(NOON),
    }
    assert [each.key for each in producers.disk.topic("rss.events")] == [b"fed", b"ecb", b"fed"]
    assert producers.disk.polls == [(feed, format_ms(NOON))]
    assert producers.health.rows == [(feed, "ok", None)]


async def test_a_feed_polled_for_a_day_gives_each_article_once(server: WebServer) -> None:
    """Items slide out of it, titles are edited, it is not always a new one."""
    items = [FeedItem(f"Fed {n}", NOON + n * 9 * MINUTE, str(n)) for n in range(160)]

    def shown(request: web.Request) -> web.Response:
        now = producers.now
        past = [item for item in items if item.published <= now][-20:]
        edited = [item._replace(title=f"{item.title}, as of {now}") for item in past]
        tag = f'"{past[-1].guid}"'
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304)
        return web.Response(body=rss(edited), headers={"ETag": tag})

    feed = server.answer("/feed", shown)
    async with Producers(markets(feed)) as producers:
        for _ in range(96):
            await producers.poll(feed)
            producers.now += 15 * MINUTE
    ids = [article["article_id"] for article in producers.disk.articles]
    assert ids == [str(n) for n in range(159)]
    assert len(producers.disk.polls) == 96


async def test_an_article_that_stays_in_a_slow_feed_for_months_is_published_once(
    server: WebServer,
) -> None:
    """What has left is forgotten after a week and a day."""
    body = rss(ITEMS)
    feed = server.answer("/feed", lambda _: web.Response(body=body))
    async with Producers(markets(feed)) as producers:
        for _ in range(40):
            await producers.poll(feed)
            await producers.feeds.forget(producers.tenure)
            producers.now += DAY
        assert Counter(a["article_id"] for a in producers.disk.articles) == {"1": 1, "2": 2}
        body = rss(ITEMS[:1])
        for _ in range(10):
            await producers.poll(feed)
            producers.now += DAY
        await producers.feeds.forget(producers.tenure)
        remembered = {key[1] for name, _, key in producers.disk.facts if name == "rss_seen"}
    assert remembered == {"1"}


async def test_killed_at_any_step_nothing_is_missing_and_nothing_differs(server: WebServer) -> None:
    """What is there twice is there with the same bytes: one article of one window downstream.

    The article without a time would otherwise come back with the time of the second fetch.
    """
    items = [*ITEMS, FeedItem("Fed, some time", None, "4")]
    feed = server.serve("/feed", rss(items))
    async with Producers(markets(feed)) as calm:
        await calm.poll(feed)
    wanted = {(a["market_slug"], a["article_id"]) for a in calm.disk.articles}
    twice = 0
    for step in range(calm.process.steps):
        disk = Disk()
        async with Producers(markets(feed), disk, dies_after=step) as first:
            with pytest.raises(Killed):
                await first.poll(feed)
        async with Producers(markets(feed), disk) as second:
            second.now = NOON + 3 * HOUR
            await second.feeds.take_over(second.tenure)
            await second.poll(feed)
        found = Counter((a["market_slug"], a["article_id"]) for a in disk.articles)
        assert found.keys() == wanted
        windows = {(a["market_slug"], a["article_id"], a["published_at"]) for a in disk.articles}
        assert len(windows) == len(wanted)
        twice += max(found.values()) > 1
    assert twice > 0


async def test_what_was_read_before_the_kill_is_published_though_it_has_left_the_feed(
    server: WebServer,
) -> None:
    feed = server.serve("/feed", rss(ITEMS))
    disk = Disk()
    async with Producers(markets(feed), disk, dies_after=4) as first:
        with pytest.raises(Killed):
            await first.poll(feed)
    assert disk.articles == []
    server.serve("/feed", rss([]))
    async with Producers(markets(feed), disk) as second:
        await second.feeds.take_over(second.tenure)
        assert [a["article_id"] for a in disk.articles] == ["2", "2", "1"]
        await second.feeds.take_over(second.tenure)
    assert len(disk.articles) == 3


async def test_a_partition_that_was_given_away_is_not_written_any_more(server: WebServer) -> None:
    """Neither facts nor polls: they are its next owner's."""
    async with Producers(markets("http://x/")) as producers:

        def shown(_: web.Request) -> web.Response:
            producers.tenure.held = False
            return web.Response(body=rss(ITEMS))

        await producers.poll(server.answer("/feed", shown))
    assert (producers.disk.log, producers.disk.facts) == ([], {})


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b"<html><title>Denied</title></html>", 200, "an HTML page, not a feed: Denied"),
        (b"", 200, "empty body"),
        (b"{", 200, "not a JSON feed: Input data was truncated"),
        (b"<html>slow down</html>", 429, "HTTP 429 Too Many Requests"),
        (b"", 404, "HTTP 404 Not Found"),
    ],
)
async def test_a_feed_that_is_none_is_one_refusal_and_a_row_of_health(
    server: WebServer, body: bytes, status: int, reason: str
) -> None:
    """Time does not pass for it; the poll is told all the same."""
    feed = server.serve("/feed", body, status=status)
    async with Producers(markets(feed)) as producers:
        await producers.poll(feed)
        producers.now += 15 * MINUTE
        await producers.poll(feed)
    assert set(producers.disk.refusals) == {reason}
    assert len(producers.disk.refusals) == (1 if status == 200 else 2)
    assert producers.health.rows == [(feed, "failed", reason)] * 2
    assert producers.disk.polls == [(feed, None)] * 2


async def test_a_broken_item_is_refused_once_however_often_it_is_shown(server: WebServer) -> None:
    feed = server.serve("/feed", '{"items": [{"id": "1"}]}', content_type="application/json")
    async with Producers(markets(feed)) as producers:
        for _ in range(3):
            await producers.poll(feed)
    assert producers.disk.refusals == ["an item without a title"]


async def test_a_server_that_asks_for_an_hour_of_quiet_gets_it(server: WebServer) -> None:
    feed = server.serve("/feed", "", status=429, retry_after="3600")
    async with Producers(markets(feed)) as producers:
        await producers.poll(feed)
        quarter = NOON + 15 * MINUTE
        producers.now = quarter
        assert not producers.feeds.is_due(producers.tenure, feed, quarter)
        producers.now = NOON + HOUR
        assert producers.feeds.is_due(producers.tenure, feed, producers.now)


async def test_a_body_that_breaks_off_is_asked_for_again(server: WebServer) -> None:
    """Its whole items are published; it is no answer, and its ETag is not taken for one."""
    body = rss([FeedItem("Fed 1", NOON, "1"), FeedItem("Fed 2", NOON, "2")])
    cut = body[: body.index(b"Fed 2") + 3]

    def shown(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match"):
            return web.Response(status=304)
        whole = server.asked["/feed"] > 1
        return web.Response(body=body if whole else cut, headers={"ETag": '"1"'})

    feed = server.answer("/feed", shown)
    async with Producers(markets(feed)) as producers:
        await producers.poll(feed)
        assert [a["article_id"] for a in producers.disk.articles] == ["1"]
        await producers.poll(feed)
        await producers.poll(feed)
    assert [a["article_id"] for a in producers.disk.articles] == ["1", "2"]
    [refusal] = producers.disk.refusals
    assert refusal.startswith("breaks off: ")
    assert producers.disk.polls == [(feed, None), (feed, format_ms(NOON)), (feed, format_ms(NOON))]
    assert [status for _, status, _ in producers.health.rows] == ["failed", "ok", "not_modified"]


async def test_an_article_for_many_markets_is_remembered_once(server: WebServer) -> None:
    """A changelog takes records of a megabyte; a copy for each of 100 markets would be two."""
    feed = server.serve("/feed", rss([FeedItem("Fed", NOON, "1", summary="\u0424 " * 10_000)]))
    many = [{"slug": f"m{n}", "feeds": [feed], "keywords": {"Fed": 1.0}} for n in range(100)]
    async with Producers(Markets.model_validate({"market": many})) as producers:
        await producers.poll(feed)
    assert len(producers.disk.articles) == 100
    assert producers.disk.largest_fact < 100_000


async def test_a_body_that_takes_too_long_to_read_is_one_refusal(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The poll ends; the feed can be polled again."""
    over = threading.Event()

    def slow(*_: object) -> Parsed:
        over.wait(10)
        return Parsed([], [])

    monkeypatch.setattr("producers.feeds.parse", slow)
    monkeypatch.setattr("producers.feeds.PARSE_SECONDS", 0.05)
    feed = server.serve("/feed", rss(ITEMS))
    async with Producers(markets(feed)) as producers:
        await producers.poll(feed)
        over.set()
    assert producers.disk.refusals == ["not read to its end within 0.05 s"]
    assert producers.disk.polls == [(feed, None)]
