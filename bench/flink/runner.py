"""One Flink for all cases, in a process of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.environments import flink_python

SQL = Path(__file__).parents[2] / "docs" / "flink"
Row = dict[str, Any]


class FlinkFailed(Exception):
    """A job of Flink's failed; the text is its reason."""


class Flink:
    """Runs cases, each in a folder of its own."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process = process
        self._log = log

    def run(self, folder: Path, *, stays_open: bool) -> tuple[list[Row], list[Row]]:
        """The signals and the final lag rows of the articles and prices in *folder*."""
        self._ask({"folder": str(folder), "open": stays_open})
        return read_rows(folder / "signals.jsonl"), final(read_rows(folder / "changes.jsonl"))

    def run_script(self, script: Path, folder: Path) -> list[Row]:
        """What a script of ``docs/flink/traps`` wrote. Raises ``FlinkFailed``."""
        self._ask({"folder": str(folder), "script": str(script)})
        return read_rows(folder / "output.jsonl")

    def _ask(self, question: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("done"):
                return
            if line.startswith("failed "):
                raise FlinkFailed(line.removeprefix("failed ").strip())
        raise RuntimeError(f"Flink ended:\n{self._log.read_text(errors='replace')[-2_000:]}")


@contextmanager
def flink(folder: Path) -> Iterator[Flink]:
    """Raises ``Missing`` where there is no Java. Ends with its JVM when its input ends."""
    log = folder / "flink.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [flink_python(), str(Path(__file__).with_name("jobs.py"))],
            env={**os.environ, "SQL": str(SQL)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        yield Flink(process, log)


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def final(changes: list[Row]) -> list[Row]:
    """The rows that a changelog leaves, by market and window."""
    rows: dict[tuple[str, str], Row] = {}
    for change in changes:
        row = change["after"] or change["before"]
        key = row["market"], row["window"]
        if change["after"] is None:
            del rows[key]
        else:
            rows[key] = row
    return [rows[key] for key in sorted(rows)]
