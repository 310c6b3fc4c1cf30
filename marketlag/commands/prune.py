"""``marketlag prune``."""

import asyncio
from datetime import UTC, datetime

import click
from rich.console import Console
from rich.progress import Progress, TaskID

from marketlag.application import settings
from marketlag.commands import command
from marketlag.commands.progress import COLUMNS
from marketlag.postgres import connected
from marketlag.retention import count_old, prune, retentions


@command(name="prune")
@click.option("--dry-run", is_flag=True, help="Only say how many rows would go.")
def prune_command(dry_run: bool) -> None:
    """Delete what is older than its retention from Postgres.

    Windows and prices older than MARKETLAG_HISTORY_RETENTION, fetches older than
    MARKETLAG_HEALTH_RETENTION. In small transactions, beside the worker; for cron.

    \b
    Examples:
      marketlag prune
      marketlag prune --dry-run
    """
    asyncio.run(_dry_run() if dry_run else _prune())


async def _dry_run() -> None:
    now = datetime.now(UTC)
    async with connected(settings.postgres_dsn.get_secret_value()) as connection:
        for each in retentions(settings):
            rows = await count_old(connection, each, now)
            click.echo(f"{each.table}: {rows:,} rows from before {now - each.age:%Y-%m-%d %H:%M}")


async def _prune() -> None:
    now = datetime.now(UTC)
    console = Console(stderr=True)
    async with connected(settings.postgres_dsn.get_secret_value()) as connection:
        with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
            for each in retentions(settings):
                bar = progress.add_task(each.table, total=None)

                def report(done: int, of: int, bar: TaskID = bar) -> None:
                    progress.update(bar, completed=done, total=of)

                rows = await prune(connection, each, now, report)
                before = f"{now - each.age:%Y-%m-%d %H:%M}"
                click.echo(f"{each.table}: deleted {rows:,} rows from before {before}")
