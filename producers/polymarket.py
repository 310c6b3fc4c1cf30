"""Polymarket's bodies, to markets and prices and back. Pure.

Gamma tells what markets there are, the CLOB what their outcomes cost. Prices are strings there,
lists are JSON inside of strings, and what the CLOB does not know it leaves out without a word.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from marketlag.errors import FetchError
from marketlag.event_time import HOUR, SECOND

#: Documented limits: requests in ten seconds.
LIMIT_SECONDS = 10.0
GAMMA_LIMIT = 300
PRICES_LIMIT = 500
HISTORY_LIMIT = 1_000

#: The CLOB refuses more in one call.
MAX_TOKENS = 500
#: It refuses longer windows of history.
MAX_HISTORY_MS = 15 * 24 * HOUR
HISTORY_FIDELITY_MINUTES = 60

PriceKind = Literal["bid", "midpoint"]


class PolymarketMarket(msgspec.Struct, frozen=True, kw_only=True):
    """A market; ``outcomes`` and ``token_ids`` belong together, one by one."""

    market_slug: str
    question: str
    outcomes: list[str]
    token_ids: list[str]
    closed: bool
    end_date: str | None = None
    condition_id: str | None = None

    @property
    def tokens(self) -> dict[str, str]:
        """The token of each outcome."""
        return dict(zip(self.outcomes, self.token_ids, strict=True))


class _Gamma(msgspec.Struct, rename="camel"):
    slug: str
    question: str = ""
    outcomes: str | list[str] | None = None
    clob_token_ids: str | list[str] | None = None
    closed: bool = False
    end_date: str | None = None
    condition_id: str | None = None


class _GammaEvent(msgspec.Struct):
    slug: str
    markets: list[msgspec.Raw] = []


def slug_of(slug_or_url: str) -> str:
    """The slug in ``https://polymarket.com/event/<event>[/<market>]``, or what was given."""
    if "://" not in slug_or_url:
        return slug_or_url.strip().strip("/")
    parts = [part for part in urlsplit(slug_or_url).path.split("/") if part]
    if not parts:
        raise FetchError(f"no market in {slug_or_url}: the address of a market ends with its slug")
    return parts[-1]


def read_market(body: bytes) -> PolymarketMarket:
    """``GET /markets/slug/<slug>``. Raises ``FetchError``."""
    return _market(_decode(body, _Gamma, "a market"))


def read_event(body: bytes, slug: str) -> PolymarketMarket:
    """``GET /events?slug=<slug>``: the event's market of that slug, or its only one.

    Raises ``FetchError``; with the slugs to choose from, where there are several.
    """
    events = _decode(body, list[_GammaEvent], "a list of events")
    markets = [_decode(bytes(raw), _Gamma, "a market") for event in events for raw in event.markets]
    chosen = [market for market in markets if market.slug == slug] or markets
    if not chosen:
        raise FetchError(f"Polymarket knows no market and no event {slug!r}")
    if len(chosen) > 1:
        slugs = ", ".join(market.slug for market in chosen)
        raise FetchError(f"{slug!r} is an event of several markets, name one of them: {slugs}")
    return _market(chosen[0])


def _market(found: _Gamma) -> PolymarketMarket:
    outcomes = _inner_list(found.outcomes, "outcomes", found.slug)
    token_ids = _inner_list(found.clob_token_ids, "clobTokenIds", found.slug)
    if not outcomes or len(outcomes) != len(token_ids):
        raise FetchError(
            f"market {found.slug}: {len(outcomes)} outcomes with {len(token_ids)} tokens"
        )
    return PolymarketMarket(
        market_slug=found.slug,
        question=found.question,
        outcomes=outcomes,
        token_ids=token_ids,
        closed=found.closed,
        end_date=found.end_date,
        condition_id=found.condition_id,
    )


def _inner_list(value: str | list[str] | None, name: str, slug: str) -> list[str]:
    if isinstance(value, str):
        return list(_decode(value.encode(), list[str], f"the {name} of market {slug}"))
    return value or []


def _decode(body: bytes, wanted: Any, what: str) -> Any:
    try:
        return msgspec.json.decode(body, type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        shown = body[:60].decode("utf-8", "replace")
        raise FetchError(f"not {what}: {exc} (it begins with {shown!r})") from None


# --- prices


def price_calls(tokens: Sequence[str], kind: PriceKind) -> tuple[str, list[list[dict[str, str]]]]:
    """The path, and the body of each call that it takes to ask for all tokens."""
    side = {"side": "BUY"} if kind == "bid" else {}
    calls = [
        [{"token_id": token, **side} for token in tokens[first : first + MAX_TOKENS]]
        for first in range(0, len(tokens), MAX_TOKENS)
    ]
    return ("/prices" if kind == "bid" else "/midpoints"), calls


def read_prices(body: bytes, kind: PriceKind) -> dict[str, float]:
    """Prices by token; only those that are one. Raises ``FetchError`` for another body."""
    found = _decode(body, dict[str, Any], "prices")
    if set(found) == {"error"}:
        raise FetchError(f"the CLOB says: {found['error']}")
    prices = {}
    for token, answer in found.items():
        text = answer.get("BUY") if kind == "bid" and isinstance(answer, dict) else answer
        price = _number(text)
        if price is not None and 0.0 <= price <= 1.0:
            prices[token] = price
    return prices


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


# --- history


class _Point(msgspec.Struct):
    t: int
    p: float


class _History(msgspec.Struct):
    history: list[_Point]


def history_windows(start: int, end: int) -> list[tuple[int, int]]:
    """From *start* to *end* (ms, whole hours, both included) in windows that the CLOB accepts."""
    return [
        (first, min(first + MAX_HISTORY_MS - HOUR, end))
        for first in range(start, end + 1, MAX_HISTORY_MS)
    ]


def read_history(body: bytes, start: int, end: int) -> dict[int, float]:
    """Price by hour (ms): the first point within each hour.

    The CLOB appends a point of now, whatever was asked for; nothing outside of *start* to *end*
    (ms) is taken. Raises ``FetchError``.
    """
    found = _decode(body, _History, "a history of prices")
    prices: dict[int, float] = {}
    for point in sorted(found.history, key=lambda point: point.t):
        hour = point.t * SECOND // HOUR * HOUR
        if start <= hour <= end and point.t * SECOND < end + HOUR:
            prices.setdefault(hour, point.p)
    return prices


def missing(tokens: Iterable[str], prices: Mapping[str, float]) -> list[str]:
    """Tokens that were asked for and not answered."""
    return [token for token in tokens if token not in prices]
