"""``marketlag notify``."""

import asyncio

import click
from faust.cli.base import cli

from marketlag.application import channels
from marketlag.commands import command
from marketlag.errors import InputError
from marketlag.notify.message import Message
from marketlag.notify.notifier import sender

TEST = Message("MarketLag", "This is a test. Flagged hours will be told here.")


@cli.group(name="notify")
def notify_group() -> None:
    """Look after the channels that flagged hours are told to."""


@command(notify_group, name="test")
@click.argument("names", nargs=-1)
def test(names: tuple[str, ...]) -> None:
    """Send a test message to each channel of MARKETLAG_NOTIFY, or to those named.

    Ends with code 1 if one of them does not take it.

    \b
    Examples:
      marketlag notify test
      marketlag notify test desk
    """
    if not channels:
        raise InputError("MARKETLAG_NOTIFY: name a notify.toml with channels to test")
    unknown = set(names) - {channel.name for channel in channels}
    if unknown:
        raise InputError(f"there is no channel {', '.join(sorted(unknown))}")
    failed = 0
    for channel in channels:
        if not names or channel.name in names:
            taken = asyncio.run(sender(channel)(TEST))
            click.echo(f"{'ok  ' if taken else 'FAIL'}  channel {channel.name}")
            failed += not taken
    if failed:
        raise click.exceptions.Exit(1)
