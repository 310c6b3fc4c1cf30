"""Feeds and markets for tests."""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from aiohttp import web


class FeedItem(NamedTuple):
    title: str
    published: int | None  # ms
    guid: str = ""
    link: str = ""
    summary: str = ""


def rss(items: Iterable[FeedItem], title: str = "Reuters") -> bytes:
    """An RSS 2.0 feed."""
    parts = []
    for item in items:
        date = "" if item.published is None else formatdate(item.published / 1_000, usegmt=True)
        parts.append(
            "<item>"
            f"<title>{escape(item.title)}</title>"
            f"<link>{escape(item.link or 'https://example.org/' + item.guid)}</link>"
            + (f'<guid isPermaLink="false">{escape(item.guid)}</guid>' if item.guid else "")
            + (f"<pubDate>{date}</pubDate>" if date else "")
            + f"<description>{escape(item.summary)}</description>"
            + "</item>"
        )
    return (
        f'<?xml version="1.0" encoding="utf-8"?><rss version="2.0"><channel>'
        f"<title>{escape(title)}</title><link>https://example.org/</link>{''.join(parts)}"
        "</channel></rss>"
    ).encode()


def gamma_market(
    slug: str,
    tokens: Sequence[str],
    outcomes: Sequence[str] = ("Yes", "No"),
    *,
    closed: bool = False,
) -> bytes:
    """``/markets/slug/<slug>``, lists in strings as Gamma has them."""
    return json.dumps(
        {
            "slug": slug,
            "question": f"Will {slug} happen?",
            "outcomes": json.dumps(list(outcomes)),
            "clobTokenIds": json.dumps(list(tokens)),
            "closed": closed,
            "endDate": "2027-01-01T00:00:00Z",
            "conditionId": "0x1",
        }
    ).encode()


def clob_prices(body: Sequence[Mapping[str, str]], prices: Mapping[str, str]) -> bytes:
    """``POST /prices``: the answer to a request's body; tokens without a price are left out."""
    found: dict[str, Any] = {}
    for asked in body:
        token = asked["token_id"]
        if token in prices:
            found[token] = {asked["side"]: prices[token]} if "side" in asked else prices[token]
    return json.dumps(found).encode()


def clob(prices: Mapping[str, str]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """``POST /prices`` as a server answers it."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=clob_prices(await request.json(), prices))

    return answer


def markets_toml(markets: Iterable[Mapping[str, Any]], sources: Mapping[str, float] = {}) -> str:
    """A markets.toml."""
    lines = ["[sources]"] + [f"{json.dumps(name)} = {weight}" for name, weight in sources.items()]
    for market in markets:
        lines += ["[[market]]"]
        for name, value in market.items():
            if isinstance(value, Mapping):
                pairs = ", ".join(f"{json.dumps(k)} = {v}" for k, v in value.items())
                lines.append(f"{name} = {{ {pairs} }}")
            else:
                lines.append(f"{name} = {json.dumps(value)}")
    return "\n".join(lines)
