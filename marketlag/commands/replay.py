"""``marketlag replay``."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from rich.console import Console

from marketlag.application import markets, settings
from marketlag.commands import command
from marketlag.commands.progress import progress_report
from marketlag.errors import InputError
from marketlag.flags import count_flagged
from marketlag.replay.inputs import read_articles, read_prices
from marketlag.replay.run import Replay, lag_lines, rows_of
from marketlag.replay.services import services

FILE = click.Path(path_type=Path, dir_okay=False)


@command(name="replay")
@click.option("--articles", type=FILE, required=True, help="JSON lines, or a CSV of headlines.")
@click.option("--prices", type=FILE, required=True, help="JSON lines, or a CSV of hourly trades.")
@click.option("--flush/--no-flush", default=True, help="End with a heartbeat that closes all.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for signals.jsonl and lags.jsonl.",
)
def replay(articles: Path, prices: Path, flush: bool, out: Path | None) -> None:
    """Send history through the topics and a worker, and wait until every row has arrived.

    Runs on the Kafka and Postgres that are configured; what is not configured is brought along for
    the time of the replay.

    \b
    Examples:
      marketlag replay --articles rss.jsonl --prices prices.jsonl --out result
      marketlag replay --articles fed_headlines.csv --prices fed_hourly.csv --out fed
    """
    priced = read_prices(prices)
    published = read_articles(articles, markets, priced)
    if not published:
        raise InputError(f"{articles} has no article that concerns a market")
    console = Console(stderr=True)
    with services(settings) as running, progress_report(console) as report:
        replaying = Replay(running.settings, check=running.worker.check, report=report)
        asyncio.run(replaying.run(published, priced, flush=flush))
        signals = [replaying.signals[key] for key in sorted(replaying.signals)]
        rows = asyncio.run(rows_of(running.settings, signals))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_lines(out / "signals.jsonl", signals)
        write_lines(out / "lags.jsonl", lag_lines(rows, settings))
    click.echo(
        f"{len(published)} articles and {len(priced)} prices gave {len(signals)} signals and "
        f"{len(rows)} rows, {count_flagged(rows)}; {len(replaying.late)} articles were late, "
        f"{len(replaying.refused)} records refused"
        + (f"; written to {out}" if out is not None else "")
    )


def write_lines(path: Path, lines: Iterable[object]) -> None:
    encoder = msgspec.json.Encoder()
    path.write_bytes(encoder.encode_lines(lines))
