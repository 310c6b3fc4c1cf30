"""``marketlag export``."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import Progress

from marketlag.application import settings
from marketlag.commands import command
from marketlag.commands.progress import COLUMNS
from marketlag.errors import InputError
from marketlag.export import EXPORTS, FORMATS, Export, Selection, new_writer, rows_of
from marketlag.postgres import connected

MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M"])


@command(name="export")
@click.argument("what", type=click.Choice(list(EXPORTS)))
@click.option("--since", type=MOMENT, help="First window or hour, UTC.")
@click.option("--until", type=MOMENT, help="End, exclusive, UTC.")
@click.option("--market", "markets", multiple=True, help="Only this market; can be repeated.")
@click.option(
    "--format", "kind", type=click.Choice(FORMATS), help="As the name of --out says, or else csv."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    default=Path("-"),
    help="File to write; standard output without it.",
)
def export_command(
    *,
    what: str,
    since: datetime | None,
    until: datetime | None,
    markets: tuple[str, ...],
    kind: str | None,
    out: Path,
) -> None:
    """Write lags, signals or prices from Postgres to a file.

    As they are at one moment, in order of time; streamed, so that there can be any number of them.

    \b
    Examples:
      marketlag export lags --since 2026-11-01 --out lags.parquet
      marketlag export prices --market some-market --format jsonl | jq .price
    """
    suffix = out.suffix.removeprefix(".")
    kind = kind or (suffix if suffix in FORMATS else "csv")
    if kind == "parquet" and str(out) == "-" and sys.stdout.isatty():
        raise InputError("Parquet is not for a terminal: give --out a file")
    chosen = Selection(_utc(since), _utc(until), markets)
    with opened(out) as file:
        count = asyncio.run(write(EXPORTS[what], chosen, kind, out, file))
    click.echo(f"{count:,} rows" + ("" if str(out) == "-" else f" in {out}"), err=True)


def _utc(moment: datetime | None) -> datetime | None:
    return moment and moment.replace(tzinfo=UTC)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file to write to; it gets its name when it is whole.

    What is no plain file (a pipe, a device) is written to as it is. Raises ``InputError``.
    """
    if str(path) == "-":
        yield sys.stdout.buffer
        return
    target = path.resolve()
    is_plain = target.is_file() or not target.exists()
    part = target.with_name(f".{target.name}.{os.getpid()}.part") if is_plain else target
    with _explained(path):
        file = part.open("xb" if is_plain else "wb")
    try:
        yield file
        with _explained(path):
            file.close()
            if is_plain:
                part.replace(target)
    finally:
        with contextlib.suppress(OSError):  # what is buffered still may find the disk full
            file.close()
        if is_plain:
            part.unlink(missing_ok=True)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Errors of writing as ``InputError``; a reader that has gone is Click's business."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as exc:
        name = "standard output" if str(path) == "-" else path
        raise InputError(f"{name} cannot be written: {exc.strerror}") from None


async def write(export: Export, chosen: Selection, kind: str, path: Path, file: BinaryIO) -> int:
    """Returns how many rows were written. *path* is what the user calls *file*."""
    console = Console(stderr=True)
    with _explained(path):
        writer = new_writer(kind, export, file)
    async with (
        connected(settings.postgres_dsn.get_secret_value()) as connection,
        rows_of(connection, export, chosen) as rows,
    ):
        with Progress(*COLUMNS, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("rows", total=rows.total)
            async for batch in rows.batches:
                with _explained(path):
                    writer.write(batch)
                progress.advance(bar, len(batch))
    with _explained(path):
        writer.close()
        file.flush()
    return rows.total
