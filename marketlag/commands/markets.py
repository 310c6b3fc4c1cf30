"""``marketlag markets``."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import click
import tomlkit
from faust.cli.base import cli

from marketlag.application import markets, settings
from marketlag.commands import command
from marketlag.commands.produce import now_ms
from marketlag.errors import FetchError, InputError, MarketLagError
from marketlag.event_time import HOUR
from marketlag.markets import Market, load_markets
from producers import polymarket
from producers.fetch import Fetcher, FetchFailed, without_user
from producers.matching import Matcher
from producers.polymarket import PolymarketMarket
from producers.prices import Polymarket
from producers.publish import HealthLog
from producers.rss import parse

DEFAULT_FILE = Path("markets.toml")


@cli.group(name="markets")
def markets_group() -> None:
    """Name markets in markets.toml, and see whether they and their feeds answer."""


@command(markets_group, name="add")
@click.argument("slug_or_url")
def add(slug_or_url: str) -> None:
    """Look a market up at Polymarket and write its entry, for you to complete.

    The file is MARKETLAG_MARKETS, or markets.toml here. What is in it stays as it is.

    \b
    Examples:
      marketlag markets add fed-rate-hike-december-2026
      marketlag markets add https://polymarket.com/event/some-event/some-market
    """
    path = settings.markets or DEFAULT_FILE
    known = load_markets(path if path.exists() else None)
    found = asyncio.run(look_up(polymarket.slug_of(slug_or_url)))
    if found.market_slug in known.tracked_outcomes:
        raise InputError(f"{path} already has a market {found.market_slug}")
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(with_entry(text, found), encoding="utf-8")
    click.echo(f"{path}: added {found.market_slug}; give it feeds and keywords")
    if found.closed:
        click.echo("note: this market is closed, it has no prices any more", err=True)


def with_entry(text: str, found: PolymarketMarket) -> str:
    """A markets.toml with one more ``[[market]]``; comments and order are kept."""
    document = tomlkit.parse(text)
    entry = tomlkit.table()
    entry["slug"] = found.market_slug
    entry["question"] = found.question
    entry["outcomes"] = found.outcomes
    entry["outcome"] = found.outcomes[0]
    if found.end_date:
        entry["end"] = found.end_date
    entry["feeds"] = []
    entry["feeds"].comment("URLs of feeds that write about it")
    entry["keywords"] = tomlkit.inline_table()
    entry["keywords"].comment('as { Fed = 2.0, "rate hike" = 2.5, dovish = -1.5 }')
    entries = document.setdefault("market", tomlkit.aot())
    entries.append(entry)
    return tomlkit.dumps(document)


async def look_up(slug: str) -> PolymarketMarket:
    async with Fetcher(settings) as fetcher:
        return await api_of(fetcher).market(slug)


def api_of(fetcher: Fetcher) -> Polymarket:
    """The APIs, without a log of their health."""
    return Polymarket(settings, fetcher, HealthLog("", now_ms))


@command(markets_group, name="check")
def check() -> None:
    """Ask for each market and feed of markets.toml; say what would be published, publish nothing.

    Ends with code 1 if one of them does not answer.

    \b
    Example:
      marketlag markets check
    """
    if not markets.market:
        raise InputError("MARKETLAG_MARKETS: name a markets.toml with markets to check")
    failed = asyncio.run(check_all())
    if failed:
        raise click.exceptions.Exit(1)


async def check_all() -> int:
    """Print a line for each; returns how many failed."""
    failed = 0
    async with Fetcher(settings) as fetcher:
        async for line, is_well in findings(fetcher):
            click.echo(f"{'ok  ' if is_well else 'FAIL'}  {line}")
            failed += not is_well
    return failed


async def findings(fetcher: Fetcher) -> AsyncIterator[tuple[str, bool]]:
    api = api_of(fetcher)
    for market in markets.market:
        try:
            yield await price_line(api, market)
        except MarketLagError as exc:
            yield f"market {market.slug}: {exc}", False
    matcher = Matcher(markets)
    for feed, slugs in markets.feeds.items():
        yield await feed_line(fetcher, matcher, feed, slugs)


async def price_line(api: Polymarket, market: Market) -> tuple[str, bool]:
    found = await api.market(market.slug)
    if found.closed:
        return f"market {market.slug}: closed, no price is asked for", True
    if market.tracked.casefold() not in [outcome.casefold() for outcome in found.outcomes]:
        raise FetchError(
            f"no outcome {market.tracked!r}; there are {', '.join(map(repr, found.outcomes))}"
        )
    prices, failures = await api.prices(found.token_ids, settings.price_kind)
    if failures:
        raise failures[0]
    shown = [
        f"{outcome} {prices[token]:g}" if token in prices else f"{outcome} has no price"
        for outcome, token in found.tokens.items()
    ]
    has_all = len(prices) == len(found.token_ids)
    return f"market {market.slug}: open, {settings.price_kind}: {', '.join(shown)}", has_all


async def feed_line(
    fetcher: Fetcher, matcher: Matcher, feed: str, slugs: list[str]
) -> tuple[str, bool]:
    try:
        fetched = await fetcher.get(feed)
    except FetchFailed as exc:
        return f"feed {without_user(feed)}: {exc}", False
    parsed = parse(fetched.body, fetched.content_type, feed, now_ms(), settings.feed_bad_time)
    if parsed.refusals and not parsed.articles:
        return f"feed {without_user(feed)}: {parsed.refusals[0].reason}", False
    concerning = {
        slug: sum(
            matcher.match(article, [slug], now_ms()) is not None for article in parsed.articles
        )
        for slug in slugs
    }
    newest = max((article.published_at for article in parsed.articles), default=None)
    shares = ", ".join(f"{count} for {slug}" for slug, count in concerning.items())
    refused = f", {len(parsed.refusals)} refused" if parsed.refusals else ""
    count = f"{len(parsed.articles)} articles ({_age(newest)})"
    return f"feed {without_user(feed)}: {count}{refused}; {shares}", True


def _age(newest: int | None) -> str:
    return "none" if newest is None else f"the newest {(now_ms() - newest) / HOUR:.1f} h old"
