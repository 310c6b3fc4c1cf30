"""``marketlag dlq``."""

import asyncio
import sys
from typing import NamedTuple

import click
import msgspec
from aiokafka import ConsumerRecord
from faust.cli.base import cli
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from marketlag import kafka
from marketlag.application import settings
from marketlag.commands import command
from marketlag.commands.progress import COLUMNS
from marketlag.dlq.ledger import Coordinates, Item, Ledger, groups
from marketlag.dlq.queue import Outcome, Queue, Republisher
from marketlag.errors import InputError
from marketlag.event_time import format_ms
from marketlag.topics import REFUSING, dlq

TOPIC = click.option(
    "--topic", type=click.Choice(REFUSING), help="Only what was refused in this topic."
)
REASON = click.option("--reason", help="Only reasons that contain this text, in any case.")


@cli.group(name="dlq")
def dlq_group() -> None:
    """See which records were refused and why, and publish them again after a fix."""


@command(dlq_group, name="list")
@TOPIC
@REASON
@click.option("--each", is_flag=True, help="Each record, as a line of JSON.")
def list_command(*, topic: str | None, reason: str | None, each: bool) -> None:
    """Count what was refused by topic and reason.

    \b
    Examples:
      marketlag dlq list
      marketlag dlq list --each --reason "not JSON"
    """
    ledgers = asyncio.run(read(topic))
    chosen = _chosen(ledgers, reason)
    if each:
        for _, items in chosen:
            for item in items:
                click.echo(msgspec.json.encode(described(item)))
        return
    found = groups(chosen)
    if not found:
        click.echo("nothing was refused")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("records", "again"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for name in ("newest (UTC)", "which is"):
        table.add_column(name, no_wrap=True)
    for group in found:
        newest = format_ms(group.example.timestamp)[:16].replace("T", " ")
        counts = f"{group.total:,}", f"{group.replayed:,}"
        table.add_row(*counts, Text(printable(group.reason)), newest, str(group.example.name))
    Console().print(table)


@command(dlq_group, name="show")
@click.argument("record")
@click.option("--value", is_flag=True, help="Only its value, byte by byte.")
def show(*, record: str, value: bool) -> None:
    """Show one refused record in full.

    RECORD is topic/partition/offset, as list shows it.

    \b
    Examples:
      marketlag dlq show rss.events/0/1234
      marketlag dlq show rss.events/0/1234 --value | jq .
    """
    item, found = asyncio.run(find(parse_name(record)))
    if value:
        sys.stdout.buffer.write(found.value or b"")
        return
    for name, text in described(item).items():
        if text is not None:
            click.echo(f"{name}: {printable(str(text))}")
    for name, raw in (("key: ", found.key), ("\n", found.value)):
        click.echo(name + printable((raw or b"").decode(errors="backslashreplace")))


@command(dlq_group, name="replay")
@click.argument("records", nargs=-1)
@TOPIC
@REASON
@click.option("--all", "everything", is_flag=True, help="Whatever was refused.")
@click.option("--dry-run", is_flag=True, help="Only say how many records that would be.")
def replay(
    *,
    records: tuple[str, ...],
    topic: str | None,
    reason: str | None,
    everything: bool,
    dry_run: bool,
) -> None:
    """Publish refused records again, to where they came from, each once.

    What was published again before is passed over, however often this runs. RECORDS are
    topic/partition/offset, as list shows them. An article whose window has closed meanwhile goes to
    rss.late.

    \b
    Examples:
      marketlag dlq replay rss.events/0/1234
      marketlag dlq replay --topic lag_signals --reason 23514
      marketlag dlq replay --all --dry-run
    """
    if not (records or topic or reason or everything):
        raise InputError("name records, or give --topic, --reason or --all")
    names = {parse_name(record) for record in records}
    outcome = asyncio.run(_replay(names, topic, reason, dry_run=dry_run))
    would = "would be published" if dry_run else "published"
    click.echo(f"{would} again: {outcome.published}")
    if outcome.already:
        click.echo(f"published again before: {outcome.already}")
    if outcome.busy:
        click.echo(f"another run has them: {outcome.busy}; if it has died, try in two minutes")
    for why, count in outcome.impossible.items():
        click.echo(f"not possible: {count}, {why}")


def printable(text: str) -> str:
    """Somebody else's text, for a terminal: it must not move the cursor or set a title."""
    return "".join(
        char if char.isprintable() or char in "\n\t" else ascii(char)[1:-1] for char in text
    )


def parse_name(text: str) -> Coordinates:
    try:
        return Coordinates.parse(text)
    except ValueError:
        raise InputError(f"{text}: write topic/partition/offset, as `dlq list` shows it") from None


def described(item: Item) -> dict[str, object]:
    """What is known of a record beside its key and value."""
    return {
        "record": str(item.name),
        "reason": item.reason,
        "arrived": format_ms(item.timestamp),
        "stands in": str(item.place),
        "source": item.source,
        "again": "published" if item.is_replayed else item.why_not and f"no: {item.why_not}",
    }


class Chosen(NamedTuple):
    """Items of one ledger."""

    ledger: Ledger
    items: list[Item]


def _chosen(
    ledgers: list[Ledger], reason: str | None, names: set[Coordinates] | None = None
) -> list[Chosen]:
    """What was asked for: of these reasons, or of these names."""
    wanted = (reason or "").casefold()
    return [
        Chosen(
            ledger,
            [
                item
                for item in ledger.items.values()
                if wanted in item.reason.casefold() and (not names or item.name in names)
            ],
        )
        for ledger in ledgers
    ]


async def read(topic: str | None) -> list[Ledger]:
    await kafka.check_topics(settings)
    async with kafka.consumer(settings) as consumer:
        queue = Queue(consumer, settings.partitions)
        return await queue.ledgers([topic] if topic else REFUSING)


async def find(name: Coordinates) -> tuple[Item, ConsumerRecord]:
    """One item and its record. Raises ``InputError``."""
    topics = [topic for topic in REFUSING if name.topic in (topic, dlq(topic))]
    await kafka.check_topics(settings)
    async with kafka.consumer(settings) as consumer:
        queue = Queue(consumer, settings.partitions)
        for ledger in await queue.ledgers(topics):
            for item in ledger.items.values():
                if name in (item.name, item.place):
                    return item, await queue.value(item)
    raise InputError(f"no refused record {name}")


async def _replay(
    names: set[Coordinates], topic: str | None, reason: str | None, *, dry_run: bool
) -> Outcome:
    await kafka.check_topics(settings)
    async with kafka.consumer(settings) as consumer, kafka.producer(settings) as producer:
        queue = Queue(consumer, settings.partitions)
        ledgers = await queue.ledgers([topic] if topic else REFUSING)
        chosen = _chosen(ledgers, reason, names)
        missing = names - {item.name for _, items in chosen for item in items}
        if missing:
            raise InputError(f"no refused record {', '.join(map(str, sorted(missing)))}")
        republisher = Republisher(queue, producer)
        if dry_run:
            return republisher.foresee([item for _, items in chosen for item in items])
        return await _publish(republisher, chosen)


async def _publish(republisher: Republisher, chosen: list[Chosen]) -> Outcome:
    console = Console(stderr=True)
    with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("records", total=sum(len(items) for _, items in chosen))
        for ledger, items in chosen:
            async for outcome in republisher.publish(ledger, items):
                progress.update(bar, completed=outcome.seen)
    return republisher.outcome
