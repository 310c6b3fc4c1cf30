"""From 10 to 100,000 markets: articles per second, memory, and the time to restore the state.

The same number of articles an hour for each; with 100,000 markets every one has an open window.
``Job 1`` is measured as in ``bench.speed``. ``whole`` is the worker with all its agents, the join
and Postgres; its state is then read back from the changelogs, and from local RocksDB.

    python -m bench.growth [--markets 10 1000 100000] [--events 2000000]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from bench.contest import Run, expected_signals, measure
from bench.pipeline import Services, heartbeats, hour, services, wait_finished, wait_ready
from bench.speed import Ring, ours
from bench.workload import Load, fill
from marketlag.topics import RSS_EVENTS
from tests.support.services import query

HOURS = 2
#: So even that each of 100,000 markets has news every hour.
SKEW = 0.3


class Whole(NamedTuple):
    """The worker with all agents: articles/s, peak MB, rows, seconds to be ready again."""

    rate: float
    rss: float
    rows: int
    with_local: float
    without_local: float


def whole(here: Services, events: int) -> Whole:
    """All agents over the log; then a start with the local state, and one without."""
    with here.worker("whole") as worker:
        wait_ready(worker)
        began = time.monotonic()
        wait_finished(here)
        rate = events / (time.monotonic() - began)
        peak = psutil.Process(worker.process.pid).memory_info().rss / 2**20
    rows = query(
        here.settings.postgres_dsn.get_secret_value(), "SELECT count(*) FROM lag_signals_history"
    )
    with_local = start_again(here)
    shutil.rmtree(here.folder / "whole" / "state")
    return Whole(rate, peak, rows[0][0], with_local, start_again(here))


def start_again(here: Services) -> float:
    """Seconds from the start of the process until it is ready."""
    (here.folder / "whole" / "worker.log").unlink()
    began = time.monotonic()
    with here.worker("whole") as worker:
        wait_ready(worker)
        return time.monotonic() - began


def measured(load: Load) -> tuple[Run, Whole, int]:
    """Both, over one log; and how many windows were open at a time."""
    with (
        tempfile.TemporaryDirectory() as name,
        services(
            Path(name), partitions=load.partitions, startup_delay="100ms", sink_max_wait="1s"
        ) as here,
    ):
        here.client.run(fill(here.settings, RSS_EVENTS, load), timeout=3_600)
        # Prices have told nothing yet: their clock lets go of nothing, and signals end the log.
        here.client.send(
            beat
            for beat in heartbeats(load.partitions, hour(load.hours + 1))
            if beat["topic"] != RSS_EVENTS
        )
        expected = expected_signals(load)
        everything = whole(here, load.events)
        folder = here.folder / "alone"
        folder.mkdir()
        job = ours(Ring(here, folder), 1)
        run = measure(job, load.events, expected, here.client, folder / "log")
    return run, everything, len(expected) // load.hours


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--markets", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--events", type=int, default=2_000_000)
    options = parser.parse_args()
    table = Table("markets", "open windows", "Job 1: articles/s", "peak MB")
    for column in ("whole: articles/s", "MB", "rows", "ready, local", "ready, changelog"):
        table.add_column(column)
    for markets in options.markets:
        run, everything, windows = measured(Load(options.events, markets, 6, HOURS, SKEW))
        table.add_row(
            f"{markets:,}",
            f"{windows:,}",
            f"{run.rate:,.0f}",
            f"{run.rss:.0f}",
            f"{everything.rate:,.0f}",
            f"{everything.rss:.0f}",
            f"{everything.rows:,}",
            f"{everything.with_local:.1f} s",
            f"{everything.without_local:.1f} s",
        )
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
