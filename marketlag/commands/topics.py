"""``marketlag topics``."""

import asyncio

import click

from marketlag import kafka
from marketlag.application import settings
from marketlag.commands import command


@command(name="topics")
@click.option("--check", is_flag=True, help="Create nothing; fail if something is missing.")
def topics(check: bool) -> None:
    """Create the topics of the pipeline, with their partitions and retention.

    \b
    Examples:
      marketlag topics           create what is missing
      marketlag topics --check   only look
    """
    if check:
        asyncio.run(kafka.check_topics(settings))
        click.echo("all topics are there")
        return
    created = asyncio.run(kafka.create_topics(settings))
    for name in created:
        click.echo(f"created {name}")
    if not created:
        click.echo("all topics were there already")
