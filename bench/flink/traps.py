"""What does not work in Flink SQL as one would write it: the scripts of ``docs/flink/traps``."""

import json
from pathlib import Path
from typing import NamedTuple

from bench.flink.runner import SQL, Row

FOLDER = SQL / "traps"


class Trap(NamedTuple):
    """A script, what it reads, and what Flink makes of it: rows, or the reason it failed for."""

    name: str
    inputs: dict[str, list[Row]]
    outcome: list[Row] | str

    @property
    def script(self) -> Path:
        return FOLDER / f"{self.name}.sql"

    def fill(self, folder: Path) -> None:
        for name, rows in self.inputs.items():
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{name}.jsonl").write_text(lines)

    def is_as_documented(self, found: list[Row] | str) -> bool:
        if isinstance(self.outcome, str):
            return isinstance(found, str) and self.outcome in found
        return found == self.outcome


TRAPS: tuple[Trap, ...] = ()
