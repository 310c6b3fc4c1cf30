"""``produce``, ``markets`` and ``backfill``, as a user types them."""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from marketlag.event_time import HOUR, MINUTE, SECOND, format_ms
from marketlag.replay.services import worker_env
from marketlag.topics import PRICE_HOURLY, RSS_EVENTS
from tests.support.feeds import FeedItem, clob_prices, gamma_market, markets_toml, rss
from tests.support.kafka.client import Client
from tests.support.services import marketlag, pipeline, query
from tests.support.web import WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        running.serve("/markets/slug/fed", gamma_market("fed", ["1", "2"]))

        async def prices(request: web.Request) -> web.Response:
            return web.Response(body=clob_prices(await request.json(), {"1": "0.4", "2": "0.6"}))

        running.answer("/prices", prices)
        yield running


def polymarket(server: WebServer) -> dict[str, str]:
    return {"MARKETLAG_GAMMA_URL": server.url, "MARKETLAG_CLOB_URL": server.url}


def items() -> list[FeedItem]:
    now = int(time.time()) * SECOND
    return [FeedItem(f"Fed {n}", now - n * MINUTE, f"g{n}") for n in range(3)]


def write_markets(path: Path, *feeds: str) -> Path:
    market = {"slug": "fed", "feeds": list(feeds), "keywords": {"Fed": 2.0}}
    path.write_text(markets_toml([market]))
    return path


def test_a_dry_run_prints_what_feeds_and_files_would_give(
    tmp_path: Path, server: WebServer
) -> None:
    """Articles and refusals, one line each, with the name of the feed or file."""
    good = tmp_path / "good.xml"
    good.write_bytes(rss(items()[:1]))
    empty = tmp_path / "empty.xml"
    empty.write_bytes(rss([]))
    page = server.serve("/page", "<html><title>No</title></html>", content_type="text/html")
    done = marketlag(
        "produce", "rss", "--dry-run", str(good), page, f"{server.url}/gone", str(empty)
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["file"] for line in lines] == [str(good), page, f"{server.url}/gone", str(empty)]
    assert lines[0]["article"]["title"] == "Fed 0"
    assert lines[1]["refused"] == "an HTML page, not a feed: No"
    assert lines[2]["refused"] == "HTTP 404 Not Found"
    assert lines[3]["refused"] == "a feed without items"


def test_a_dry_run_of_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = marketlag("produce", "rss", "--dry-run", "gone.xml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: gone.xml: No such file or directory\n"


def test_markets_are_added_for_the_user_to_complete(tmp_path: Path, server: WebServer) -> None:
    """Comments stay; a second time is refused; what is written can be read again."""
    path = tmp_path / "markets.toml"
    path.write_text("# mine\n[sources]\nReuters = 1.0 # good\n")
    env = polymarket(server) | {"MARKETLAG_MARKETS": str(path)}
    done = marketlag("markets", "add", "https://polymarket.com/event/x/fed", env=env)
    assert (done.returncode, done.stdout) == (
        0,
        f"{path}: added fed; give it feeds and keywords\n",
    ), done.stderr
    text = path.read_text()
    assert text.startswith("# mine\n[sources]\nReuters = 1.0 # good\n")
    assert 'slug = "fed"' in text
    assert 'end = "2027-01-01T00:00:00Z"' in text
    again = marketlag("markets", "add", "fed", env=env)
    assert (again.returncode, again.stderr) == (1, f"Error: {path} already has a market fed\n")
    server.serve("/events", "[]")
    unknown = marketlag("markets", "add", "nope", env=env)
    assert unknown.stderr == "Error: Polymarket knows no market and no event 'nope'\n"
    assert path.read_text() == text


def test_markets_check_says_what_answers(tmp_path: Path, server: WebServer) -> None:
    """And what would be published; code 1 when something does not answer."""
    feed = server.serve("/feed", rss([*items(), FeedItem("Weather", None, "w")]))
    path = write_markets(tmp_path / "markets.toml", feed)
    env = polymarket(server) | {"MARKETLAG_MARKETS": str(path)}
    done = marketlag("markets", "check", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "ok    market fed: open, bid: Yes 0.4, No 0.6",
        f"ok    feed {feed}: 4 articles (the newest 0.0 h old); 3 for fed",
    ]
    write_markets(path, feed, f"{server.url}/gone")
    done = marketlag("markets", "check", env=env)
    assert done.returncode == 1
    assert f"FAIL  feed {server.url}/gone: HTTP 404 Not Found" in done.stdout


def test_cron_polls_each_source_once_in_its_interval(
    database: str, tmp_path: Path, server: WebServer
) -> None:
    """What one run has seen the next one knows, from the changelogs."""
    feed = server.serve("/feed", rss(items()))
    path = write_markets(tmp_path / "markets.toml", feed)
    with pipeline(
        database, markets=path, gamma_url=server.url, clob_url=server.url, rss_poll="1s"
    ) as settings:
        env = worker_env(settings)
        for _ in range(2):
            done = marketlag("produce", "rss", "--once", env=env)
            assert done.stdout == (
                "polled 1 of 1 feeds; how each answered is in api_health_log\n"
            ), done.stderr
        half_hour = time.time() // 1_800
        outputs = [marketlag("produce", "prices", "--once", env=env).stdout for _ in range(2)]
        if time.time() // 1_800 != half_hour:
            pytest.skip("a half hour began between the two runs: the market was due again")
        assert outputs == [
            "polled 1 markets; how each answered is in api_health_log\n",
            "nothing was due\n",
        ]
        with Client(settings) as client:
            logs = client.logs([RSS_EVENTS, PRICE_HOURLY], settings.partitions)
    found = {topic: values(partitions) for topic, partitions in logs.items()}
    assert sorted(each["article_id"] for each in found[RSS_EVENTS]) == ["g0", "g1", "g2"]
    assert sorted((each["outcome"], each["price"]) for each in found[PRICE_HOURLY]) == [
        ("No", 0.6),
        ("Yes", 0.4),
    ]
    rows = query(database, "SELECT status, count(*) FROM api_health_log GROUP BY 1")
    assert [tuple(row) for row in rows] == [("ok", 4)]


def values(partitions: dict[int, list[Any]]) -> list[Any]:
    return [json.loads(record.value) for records in partitions.values() for record in records]


def test_backfill_fetches_past_hours_and_goes_on_where_it_was(
    database: str, tmp_path: Path, server: WebServer
) -> None:
    """Windows of at most 15 days, no point of now, deltas across windows; a second run has nothing

    to do, and one after a failure goes on.
    """
    now = int(time.time()) * SECOND
    end = now // HOUR * HOUR - HOUR
    start = end - 20 * 24 * HOUR

    def is_traded(hour: int) -> bool:
        return bool(hour % (3 * HOUR)) or hour == end

    def history(request: web.Request) -> web.Response:
        first, last = int(request.query["startTs"]), int(request.query["endTs"])
        assert last - first <= 15 * 86_400
        if request.query["market"] == "2" and server.asked["/prices-history"] == 4:
            return web.Response(status=400, text="no")
        hours = range(first * SECOND, last * SECOND, HOUR)
        points = [{"t": t // SECOND + 3, "p": (t // HOUR % 10) / 10} for t in hours if is_traded(t)]
        return web.json_response({"history": [*points, {"t": now // SECOND, "p": 0.99}]})

    server.answer("/prices-history", history)
    path = write_markets(tmp_path / "markets.toml")
    with pipeline(
        database,
        markets=path,
        gamma_url=server.url,
        clob_url=server.url,
        datadir=tmp_path / "data",
    ) as settings:
        command = ("backfill", "prices", "--since", format_ms(start)[:16])
        failing = marketlag(*command, env=worker_env(settings))
        assert failing.returncode == 1
        assert "fed: HTTP 400 Bad Request" in failing.stderr
        done = marketlag(*command, env=worker_env(settings))
        assert done.returncode == 0, done.stderr
        asked = server.asked["/prices-history"]
        assert marketlag(*command, env=worker_env(settings)).stdout.startswith("published 0 ")
        assert server.asked["/prices-history"] == asked == 5
        with Client(settings) as client:
            records = values(client.logs([PRICE_HOURLY], settings.partitions)[PRICE_HOURLY])
    for outcome in ("Yes", "No"):
        told = [each for each in records if each["outcome"] == outcome]
        hours = [t for t in range(start, end + 1, HOUR) if is_traded(t)]
        assert [each["event_time"] for each in told] == [format_ms(hour) for hour in hours]
        assert all(each["fetched_at"] == each["event_time"] for each in told)
        prices = [(hour // HOUR % 10) / 10 for hour in hours]
        assert [each["price"] for each in told] == prices
        deltas = [0.0, *(round(b - a, 9) for a, b in itertools.pairwise(prices))]
        assert [each["price_delta"] for each in told] == deltas


def test_without_markets_there_is_nothing_to_poll(tmp_path: Path) -> None:
    for command in (("produce", "rss"), ("markets", "check")):
        done = marketlag(*command)
        assert done.returncode == 1
        assert done.stderr.startswith("Error: MARKETLAG_MARKETS: name a markets.toml ")
        assert done.stderr.count("\n") == 1
