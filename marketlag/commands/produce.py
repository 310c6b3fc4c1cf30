"""``marketlag produce``."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import Progress

from marketlag.application import markets, settings
from marketlag.commands import command
from marketlag.errors import InputError, SettingsError
from marketlag.event_time import format_ms
from producers.fetch import Fetcher, FetchFailed
from producers.publish import Kind
from producers.rss import FeedRefusal, Parsed, parse
from producers.standalone import standalone


def now_ms() -> int:
    return int(time.time() * 1_000)


@command(name="produce")
@click.argument("kind", type=click.Choice(["rss", "prices"]))
@click.argument("sources", nargs=-1, metavar="[FILE_OR_URL]...")
@click.option("--once", is_flag=True, help="Poll what is due and end, for cron.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Print what these feeds would give as JSON lines; publish nothing.",
)
def produce(kind: Kind, sources: tuple[str, ...], once: bool, dry_run: bool) -> None:
    """Poll the feeds or the prices of markets.toml, without a worker.

    Workers poll by themselves; set MARKETLAG_POLL_IN_WORKER=false where cron does it. A source is
    polled once in each interval of the schedule, however often this runs.

    \b
    Examples:
      marketlag produce rss --once
      marketlag produce prices
      marketlag produce rss --dry-run https://www.federalreserve.gov/feeds/press_all.xml
      marketlag produce rss --dry-run saved/*.xml
    """
    if dry_run:
        if kind != "rss" or not sources:
            raise click.UsageError("--dry-run is for feeds: produce rss --dry-run FILE_OR_URL...")
        asyncio.run(print_feeds(sources))
    elif sources:
        raise click.UsageError("which feeds and markets are polled is in markets.toml")
    elif not markets.market:
        raise SettingsError("MARKETLAG_MARKETS: name a markets.toml with markets to poll")
    else:
        asyncio.run(poll_once(kind) if once else poll_on(kind))


async def poll_once(kind: Kind) -> None:
    total = len(markets.feeds if kind == "rss" else markets.market)
    async with standalone(settings, markets, kind, now_ms) as poller:
        with Progress(console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task(f"polling {kind}", total=total)
            polled: list[str] = []

            def report(name: str) -> None:
                if not name.startswith("partition"):
                    polled.append(name)
                    progress.advance(bar)

            await poller.run_once(report)
    if not polled:
        click.echo("nothing was due")
    else:
        of = f"{len(polled)} of {total} feeds" if kind == "rss" else f"{total} markets"
        click.echo(f"polled {of}; how each answered is in api_health_log")


async def poll_on(kind: Kind) -> None:
    async with standalone(settings, markets, kind, now_ms) as poller:
        click.echo(f"polling {kind}; Ctrl-C ends it", err=True)
        await poller.run(lambda: False)


async def print_feeds(sources: Sequence[str]) -> None:
    """Each article and each refusal as one line of JSON."""
    async with Fetcher(settings) as fetcher:
        for source in sources:
            parsed = await read_feed(fetcher, source)
            for line in lines_of(source, parsed):
                click.echo(msgspec.json.encode(line).decode())


async def read_feed(fetcher: Fetcher, source: str) -> Parsed:
    """A feed by its URL or from a file. Raises ``InputError`` for a file that cannot be read."""
    if "://" not in source:
        return parse_file(Path(source))
    try:
        found = await fetcher.get(source)
    except FetchFailed as exc:
        return Parsed([], [FeedRefusal(str(exc), exc.body.decode("utf-8", "replace"))])
    return parse(found.body, found.content_type, source, now_ms(), settings.feed_bad_time)


def parse_file(path: Path) -> Parsed:
    try:
        body = path.read_bytes()
    except OSError as exc:
        raise InputError(f"{path}: {exc.strerror}") from None
    return parse(body, "", path.resolve().as_uri(), now_ms(), settings.feed_bad_time)


def lines_of(source: str, parsed: Parsed) -> Iterator[dict[str, Any]]:
    for article in parsed.articles:
        fields = msgspec.to_builtins(article)
        yield {
            "file": source,
            "article": {**fields, "published_at": format_ms(article.published_at)},
        }
    for refusal in parsed.refusals:
        yield {"file": source, "refused": refusal.reason, "excerpt": refusal.excerpt}
    if not parsed.articles and not parsed.refusals:
        yield {"file": source, "refused": "a feed without items", "excerpt": ""}
