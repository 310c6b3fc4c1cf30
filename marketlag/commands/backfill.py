"""``marketlag backfill``."""

import asyncio
import functools
from datetime import UTC, datetime

import click
from faust.cli.base import cli
from rich.console import Console
from rich.progress import Progress

from marketlag import kafka
from marketlag.application import markets, settings
from marketlag.commands import command
from marketlag.commands.produce import now_ms
from marketlag.commands.progress import COLUMNS
from marketlag.errors import InputError
from marketlag.event_time import HOUR, from_datetime
from producers.backfill import Backfill, Journal
from producers.fetch import Fetcher
from producers.prices import Polymarket
from producers.publish import HealthLog
from producers.standalone import KafkaOutlet

JOURNAL = "backfill-prices.json"


@cli.group(name="backfill")
def backfill() -> None:
    """Fetch what happened before MarketLag was running."""


@command(backfill, name="prices")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"]),
    required=True,
    help="First hour, UTC.",
)
@click.option("--market", "slugs", multiple=True, help="Only this market; can be repeated.")
def backfill_prices(since: datetime, slugs: tuple[str, ...]) -> None:
    """Publish the hourly prices of past hours, up to the last full one.

    A price that was fetched live for the same hour counts more. Hours in which nothing was traded
    have no price. Run it again after an interruption: what was published is not asked for again.
    Lag rows change only within MARKETLAG_STATE_TTL; older hours are for the charts.

    \b
    Examples:
      marketlag backfill prices --since 2026-11-14
      marketlag backfill prices --since 2026-11-14T12:00 --market some-market
    """
    unknown = set(slugs) - markets.tracked_outcomes.keys()
    if unknown:
        raise InputError(f"markets.toml has no market {', '.join(sorted(unknown))}")
    chosen = list(slugs) or list(markets.tracked_outcomes)
    if not chosen:
        raise InputError("MARKETLAG_MARKETS: name a markets.toml with markets to fetch")
    start = from_datetime(since.replace(tzinfo=UTC)) // HOUR * HOUR
    end = now_ms() // HOUR * HOUR - HOUR
    if start > end:
        raise InputError("--since: there is no full hour after it")
    published, failed = asyncio.run(fetch_all(chosen, start, end))
    click.echo(f"published {published} prices of {len(chosen) - failed} markets")
    if failed:
        raise InputError(f"{failed} markets could not be fetched; run it again to go on with them")


async def fetch_all(slugs: list[str], start: int, end: int) -> tuple[int, int]:
    """Returns how many prices were published, and how many markets failed."""
    await kafka.check_topics(settings)
    published = failed = 0
    health = HealthLog(settings.postgres_dsn.get_secret_value(), now_ms)
    async with kafka.producer(settings) as producer, Fetcher(settings) as fetcher:
        job = Backfill(
            Polymarket(settings, fetcher, health),
            KafkaOutlet(producer),
            Journal(settings.datadir / JOURNAL),
        )
        with Progress(*COLUMNS, console=Console(stderr=True)) as progress:
            for slug in slugs:
                bar = progress.add_task(slug, total=None)
                report = functools.partial(progress.update, bar)
                done, problem = await job.market(slug, start, end, report)
                published += done
                if problem is not None:
                    failed += 1
                    progress.console.print(f"{slug}: {problem}", markup=False)
    await health.write()
    return published, failed
