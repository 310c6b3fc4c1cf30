"""Fetching from a real HTTP server that misbehaves."""

import asyncio
import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import stamina
from aiohttp import web

from marketlag.settings import load_settings
from producers import fetch
from producers.fetch import Fetcher, FetchFailed
from tests.support.web import WebServer


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as running:
        yield running


@pytest.fixture(autouse=True)
def _without_waiting() -> Iterator[None]:
    """As many attempts as ever, one right after the other."""
    with stamina.set_testing(True, attempts=fetch.ATTEMPTS):
        yield


async def failure(url: str, **chosen: object) -> FetchFailed:
    async with Fetcher(load_settings(**chosen)) as fetcher:
        with pytest.raises(FetchFailed) as caught:
            await fetcher.get(url)
        return caught.value


async def test_an_answer(server: WebServer) -> None:
    """With its validators; redirects are followed, gzip is undone, the project is named."""
    body = gzip.compress(b"hello")
    server.serve("/new", body, content_encoding="gzip", etag='"1"', last_modified="yesterday")
    server.answer("/old", lambda _: web.Response(status=301, headers={"Location": "/new"}))
    async with Fetcher(load_settings()) as fetcher:
        found = await fetcher.get(f"{server.url}/old")
    assert (found.body, found.etag, found.last_modified) == (b"hello", '"1"', "yesterday")
    assert server.requests[-1].headers["User-Agent"].startswith("marketlag/")


def test_a_password_in_a_feeds_address_is_not_shown() -> None:
    assert fetch.without_user("https://me:secret@h.org/x@y") == "https://h.org/x@y"
    assert fetch.without_user("https://h.org/x") == "https://h.org/x"
    assert fetch.without_user("fed") == "fed"


async def test_nothing_new(server: WebServer) -> None:
    url = server.answer("/", lambda _: web.Response(status=304))
    async with Fetcher(load_settings()) as fetcher:
        found = await fetcher.get(url, headers={"If-None-Match": '"1"'})
    assert not found.modified
    assert server.requests[-1].headers["If-None-Match"] == '"1"'


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_what_may_pass_is_tried_three_times_more(server: WebServer, status: int) -> None:
    """A 429 with an HTML page like any other."""
    url = server.serve("/", "<html>slow down</html>", status=status, content_type="text/html")
    exc = await failure(url)
    assert str(exc).startswith(f"HTTP {status} ")
    assert exc.body == b"<html>slow down</html>"
    assert server.asked["/"] == 4


async def test_it_is_over_with_the_first_answer(server: WebServer) -> None:
    def third(_: web.Request) -> web.Response:
        return web.Response(status=200 if server.asked["/"] == 3 else 502, body=b"x")

    async with Fetcher(load_settings()) as fetcher:
        assert (await fetcher.get(server.answer("/", third))).body == b"x"


@pytest.mark.parametrize("status", [400, 403, 404, 410])
async def test_what_stays_is_not_tried_again(server: WebServer, status: int) -> None:
    exc = await failure(server.serve("/", "no", status=status))
    assert exc.status == status
    assert server.asked["/"] == 1


async def test_a_server_that_wants_to_be_left_alone_for_long_is(server: WebServer) -> None:
    exc = await failure(server.serve("/", "", status=429, retry_after="3600"))
    assert exc.retry_after == 3600
    assert server.asked["/"] == 1


def test_retry_after_is_honoured() -> None:
    """Seconds or a date; what is too long is not waited for."""
    assert fetch._wait_for(FetchFailed("x", passing=True, retry_after=7)) == 7
    assert fetch._wait_for(FetchFailed("x", passing=True, retry_after=61)) is False
    assert fetch._wait_for(FetchFailed("x", passing=True)) is True
    assert fetch._wait_for(FetchFailed("x")) is False
    assert fetch._retry_after("120") == 120
    assert fetch._retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert fetch._retry_after("soon") is None
    assert fetch._retry_after("Wed, 21 Oct 2015 07:28:00 +999999999999999") is None
    assert fetch._retry_after("9" * 400) == fetch.MAX_RETRY_AFTER


async def test_a_body_that_is_too_large_is_not_read_to_its_end(server: WebServer) -> None:
    """50 MB, also when they are a small file of gzip."""
    exc = await failure(server.serve("/", b"x" * 50_000_000))
    assert str(exc) == "a body of more than 10485760 bytes"
    packed = gzip.compress(b"x" * 50_000_000)
    exc = await failure(server.serve("/packed", packed, content_encoding="gzip"))
    assert str(exc) == "a body of more than 10485760 bytes"
    assert server.asked["/packed"] == 1


async def test_a_body_that_is_not_what_its_header_says(server: WebServer) -> None:
    exc = await failure(server.serve("/", b"not gzip", content_encoding="gzip"))
    assert str(exc).startswith("cannot be decompressed: ")


async def test_redirects_in_a_circle(server: WebServer) -> None:
    url = server.answer("/", lambda _: web.Response(status=302, headers={"Location": "/"}))
    assert str(await failure(url)) == "more than 5 redirects"


@contextmanager
def raw_server(answer: bytes, *, hang: bool = False) -> Iterator[str]:
    """Says *answer* to whoever connects, then hangs up, or hangs."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            connection.recv(65_536)
            connection.sendall(answer)
            if not hang:
                connection.shutdown(socket.SHUT_WR)
                connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for connection in connections:
            connection.close()


async def test_a_connection_that_hangs() -> None:
    """Before the answer, or in the middle of it."""
    for said in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc"):
        with raw_server(said, hang=True) as url:
            assert str(await failure(url, fetch_timeout="200ms")) == (
                "no whole answer within 0.2 s"
            )


async def test_a_body_that_breaks_off() -> None:
    with raw_server(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nabc") as url:
        assert str(await failure(url)).startswith("broke off: peer closed connection")


async def test_a_name_that_nobody_knows() -> None:
    assert str(await failure("http://nowhere.invalid/")).startswith("cannot connect: ")


async def test_a_port_that_nobody_listens_to() -> None:
    assert str(await failure("http://127.0.0.1:1/")).startswith("cannot connect: ")


async def test_what_is_no_url() -> None:
    assert str(await failure("file:///etc/passwd")).startswith("not a URL to fetch: ")


async def test_four_at_a_time_of_one_host(server: WebServer) -> None:
    """The others wait; one that hangs does not hold more than its place."""
    present, most = 0, 0

    async def slow(_: web.Request) -> web.Response:
        nonlocal present, most
        present += 1
        most = max(most, present)
        await asyncio.sleep(0.02)
        present -= 1
        return web.Response()

    url = server.answer("/", slow)
    async with Fetcher(load_settings()) as fetcher:
        await asyncio.gather(*(fetcher.get(url) for _ in range(20)))
    assert most == fetch.MAX_FETCHES_PER_HOST
