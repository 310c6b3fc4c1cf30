"""``marketlag demo``."""

import asyncio
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import asyncpg
import click
from rich import box
from rich.console import Console
from rich.table import Table

from marketlag.application import settings
from marketlag.chart import draw
from marketlag.commands import command
from marketlag.commands.progress import progress_report
from marketlag.errors import ReplayError
from marketlag.event_time import from_datetime
from marketlag.flags import count_flagged, price_state
from marketlag.replay.run import Replay, rows_of
from marketlag.replay.services import services
from marketlag.sample import make_sample

NOTE = "Synthetic: a made-up week of three markets, the same at every run."


@command(name="demo")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo-result"),
    show_default=True,
    help="Folder for the picture.",
)
def demo(out: Path) -> None:
    """Run the whole pipeline on a synthetic week and show the flagged hours.

    Brings its own broker and database, unless they are configured.

    \b
    Example:
      marketlag demo --out /tmp/demo
    """
    console = Console()
    console.print(NOTE)
    sample = make_sample()
    with services(settings) as running, progress_report(Console(stderr=True)) as report:
        replaying = Replay(running.settings, check=running.worker.check, report=report)
        asyncio.run(replaying.run(sample.articles, sample.prices, flush=True))
        rows = asyncio.run(rows_of(running.settings, list(replaying.signals.values())))
    flagged = [row for row in rows if row["lag_flag"]]
    console.print(flagged_table(flagged))
    out.mkdir(parents=True, exist_ok=True)
    picture = out / "flagged-hours.png"
    draw(rows, picture, title="News jumped, the price stood still", note=NOTE)
    console.print(f"{len(rows)} rows, {count_flagged(rows)}. Picture: {picture}")
    found = {(row["market"], from_datetime(row["window"])) for row in flagged}
    if found != sample.flagged:
        raise ReplayError(
            "the flagged hours are not those that the sample was built to contain: "
            f"{len(sample.flagged - found)} missing, {len(found - sample.flagged)} too many"
        )


def shown_price(row: asyncpg.Record) -> str:
    """A stale price did not stand still: nobody gave a new one."""
    if row["price"] is None:
        return "none"
    return f"{row['price']:.3f}" + (" stale" if price_state(row) == "stale" else "")


def flagged_table(rows: Sequence[asyncpg.Record]) -> Table:
    """The flagged hours, the most confident first."""
    table = Table(title="Flagged hours", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("market", no_wrap=True)
    for name in ("hour (UTC)", "jump", "z", "price", "move", "conf."):
        table.add_column(name, justify="right", no_wrap=True)
    for row in sorted(rows, key=lambda row: (-row["confidence"], row["market"], row["window"])):
        table.add_row(
            row["market"],
            f"{row['window'].astimezone(UTC):%d %b %H:%M}",
            f"{row['signal_delta']:+.2f}",
            "" if row["signal_zscore"] is None else f"{row['signal_zscore']:+.1f}",
            shown_price(row),
            f"{row['price_delta']:+.3f}",
            f"{row['confidence']:.2f}",
        )
    return table
