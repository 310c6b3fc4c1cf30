"""Progress on the terminal."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from marketlag.replay.run import Report

COLUMNS = (
    TextColumn("{task.description:>10}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
)


@contextmanager
def progress_report(console: Console) -> Iterator[Report]:
    """A bar for each thing that is reported."""
    with Progress(*COLUMNS, console=console) as progress:
        bars = {name: progress.add_task(name, total=None) for name in ("prices", "articles")}

        def report(what: str, done: int, of: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=None)
            progress.update(bars[what], completed=done, total=of)

        yield report
