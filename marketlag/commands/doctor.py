"""``marketlag doctor``."""

import asyncio
from collections.abc import AsyncIterator

import click

from marketlag.application import channels, markets, settings
from marketlag.commands import command
from marketlag.commands.markets import findings
from marketlag.doctor import Finding, examine
from marketlag.settings import PREFIX
from producers.fetch import Fetcher


@command(name="doctor")
def doctor() -> None:
    """Look at all that a worker needs: a line each, with what to do about it.

    Settings, Kafka, topics, Postgres, schema, clock, disk, channels, markets and feeds. Changes
    nothing. Ends with code 1 if something has to be done.

    \b
    Example:
      marketlag doctor
    """
    if asyncio.run(_examine()):
        raise click.exceptions.Exit(1)


async def _examine() -> int:
    failed = 0
    async for finding in _all():
        mark = "ok  " if finding.is_well else "FAIL"
        click.echo(f"{mark}  {finding.name}: {finding.text}")
        failed += not finding.is_well
    return failed


async def _all() -> AsyncIterator[Finding]:
    async for finding in examine(settings, channels):
        yield finding
    if not markets.market:
        text = f"none: name a markets.toml in {PREFIX}MARKETS, or let others write the topics"
        yield Finding("markets", text, is_well=True)
        return
    async with Fetcher(settings) as fetcher:
        async for line, is_well in findings(fetcher):
            name, _, text = line.partition(" ")
            yield Finding(name, text, is_well)
