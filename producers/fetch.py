"""Answers of servers, or the reason why there is none. The only module that goes over the network.

An answer is whole: within the time and the size allowed, decompressed, after redirects. What may
pass by itself is tried three times more, 1, 2 and 4 s later, or when the server says.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

import httpx
import msgspec
import stamina
from aiolimiter import AsyncLimiter

from marketlag.errors import FetchError
from marketlag.settings import Settings

MAX_BODY_BYTES = 10 * 1024 * 1024
MAX_REDIRECTS = 5
#: Fetches at the same time, all together and of one host.
MAX_FETCHES = 32
MAX_FETCHES_PER_HOST = 4

ATTEMPTS = 4
FIRST_WAIT = 1.0
LONGEST_WAIT = 4.0
JITTER = 0.5
#: A server that wants to be left alone for longer is left alone; the schedule comes back to it.
LONGEST_RETRY_AFTER = 60.0

#: Of a body that is refused, so much is kept for the reader.
EXCERPT_BYTES = 64 * 1024

# Each fetch is a row of api_health_log; a line in the log would say it twice.
logging.getLogger("httpx").setLevel(logging.WARNING)

#: Nobody is left alone for longer, whatever he asks for (s).
MAX_RETRY_AFTER = 24 * 3_600.0

_NOT_MODIFIED = 304
_PASSING = frozenset({408, 425, 429, *range(500, 600)})


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """An answer. ``body`` is empty when the server says that nothing has changed."""

    body: bytes
    content_type: str = ""
    modified: bool = True
    etag: str = ""
    last_modified: str = ""
    milliseconds: int = 0


class FetchFailed(FetchError):
    """No answer of use.

    Attributes:
        passing: it may be over in a moment.
        retry_after: what the server asks for (s).
        body: the beginning of what came instead.
    """

    def __init__(
        self,
        reason: str,
        *,
        passing: bool = False,
        retry_after: float | None = None,
        body: bytes = b"",
        status: int | None = None,
    ) -> None:
        super().__init__(reason)
        self.passing = passing
        self.retry_after = retry_after
        self.body = body
        self.status = status
        self.milliseconds = 0


def _wait_for(error: Exception) -> bool | float:
    """Whether to try again, or in how many seconds."""
    if not isinstance(error, FetchFailed) or not error.passing:
        return False
    if error.retry_after is None:
        return True
    return error.retry_after if error.retry_after <= LONGEST_RETRY_AFTER else False


class Fetcher:
    """A client of many servers, polite to each."""

    def __init__(self, settings: Settings) -> None:
        self._timeout = settings.fetch_timeout / timedelta(seconds=1)
        self._client = httpx.AsyncClient(
            headers={"User-Agent": settings.user_agent, "Accept-Encoding": "gzip, deflate"},
            follow_redirects=True,
            max_redirects=MAX_REDIRECTS,
            timeout=self._timeout,
            limits=httpx.Limits(max_connections=MAX_FETCHES, max_keepalive_connections=8),
        )
        self._all = asyncio.Semaphore(MAX_FETCHES)
        self._hosts: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(MAX_FETCHES_PER_HOST)
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        limit: AsyncLimiter | None = None,
    ) -> Fetched:
        """GET *url*. Raises ``FetchFailed`` after the last attempt."""
        return await self._fetch(limit, "GET", url, headers=dict(headers or {}))

    async def post(self, url: str, value: Any, *, limit: AsyncLimiter | None = None) -> Fetched:
        """POST *value* as JSON. Raises ``FetchFailed`` after the last attempt."""
        headers = {"Content-Type": "application/json"}
        return await self._fetch(
            limit, "POST", url, headers=headers, content=msgspec.json.encode(value)
        )

    async def _fetch(
        self, limit: AsyncLimiter | None, method: str, url: str, **sent: Any
    ) -> Fetched:
        began = time.monotonic()
        try:
            async for attempt in stamina.retry_context(
                on=_wait_for,
                attempts=ATTEMPTS,
                timeout=None,
                wait_initial=FIRST_WAIT,
                wait_max=LONGEST_WAIT,
                wait_jitter=JITTER,
            ):
                with attempt:
                    return await self._attempt(limit, method, url, sent)
        except FetchFailed as exc:
            exc.milliseconds = round((time.monotonic() - began) * 1_000)
            raise
        raise AssertionError  # the last attempt returns or raises

    async def _attempt(
        self, limit: AsyncLimiter | None, method: str, url: str, sent: Mapping[str, Any]
    ) -> Fetched:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._hosts[_host(url)])
            await stack.enter_async_context(self._all)
            if limit is not None:
                await stack.enter_async_context(limit)
            try:
                async with asyncio.timeout(self._timeout):
                    return await self._answer(method, url, sent)
            except (TimeoutError, httpx.TimeoutException):
                reason = f"no whole answer within {self._timeout:g} s"
                raise FetchFailed(reason, passing=True) from None
            except httpx.TooManyRedirects:
                raise FetchFailed(f"more than {MAX_REDIRECTS} redirects") from None
            except httpx.DecodingError as exc:
                raise FetchFailed(f"cannot be decompressed: {exc}") from None
            except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as exc:
                raise FetchFailed(f"not a URL to fetch: {exc}") from None
            except (httpx.HTTPError, OSError) as exc:
                raise FetchFailed(_why(exc), passing=True) from None

    async def _answer(self, method: str, url: str, sent: Mapping[str, Any]) -> Fetched:
        began = time.monotonic()
        async with self._client.stream(method, url, **sent) as response:
            if response.status_code == _NOT_MODIFIED:
                return Fetched(body=b"", modified=False, milliseconds=_since(began))
            if not response.is_success:
                raise await _refusal(response)
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise FetchFailed(
                        f"a body of more than {MAX_BODY_BYTES} bytes",
                        body=bytes(body[:EXCERPT_BYTES]),
                    )
            return Fetched(
                body=bytes(body),
                content_type=response.headers.get("content-type", ""),
                etag=_validator(response, "etag"),
                last_modified=_validator(response, "last-modified"),
                milliseconds=_since(began),
            )


def _validator(response: httpx.Response, name: str) -> str:
    value: str = response.headers.get(name, "")
    return value if value.isascii() else ""  # it could not be sent back


def without_user(url: str) -> str:
    """A URL to show: a feed's may have a password in it."""
    scheme, found, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + found + authority.rpartition("@")[2] + slash + path


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1_000)


def _host(url: str) -> str:
    try:
        return httpx.URL(url).host
    except (httpx.InvalidURL, TypeError):
        return ""


def _why(exc: Exception) -> str:
    what = "cannot connect" if isinstance(exc, httpx.ConnectError | OSError) else "broke off"
    return f"{what}: {exc or type(exc).__name__}"


async def _refusal(response: httpx.Response) -> FetchFailed:
    body = bytearray()
    async for piece in response.aiter_bytes():
        body += piece
        if len(body) > EXCERPT_BYTES:
            break
    status = response.status_code
    return FetchFailed(
        f"HTTP {status} {response.reason_phrase}".rstrip(),
        passing=status in _PASSING,
        retry_after=_retry_after(response.headers.get("retry-after", "")),
        body=bytes(body[:EXCERPT_BYTES]),
        status=status,
    )


def _retry_after(value: str) -> float | None:
    """Seconds from now: the header has seconds or a date."""
    try:
        if value.isascii() and value.isdigit():
            seconds = float(value)
        else:
            moment = parsedate_to_datetime(value).astimezone(UTC)
            seconds = (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), MAX_RETRY_AFTER)
