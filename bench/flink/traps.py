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


_ARTICLE = {"market_slug": "m", "published_at": "2026-03-16T10:05:00Z"}
_NO_ROWTIME = "RowTime field should not be null"


def _hour(hour: int, name: str, **fields: float) -> Row:
    return {"market_slug": "m", name: f"2026-03-16T{hour}:00:00Z", **fields}


def _signals(*hours: int) -> list[Row]:
    return [_hour(hour, "window_start", signal=float(hour)) for hour in hours]


def _prices(*hours: int) -> list[Row]:
    return [_hour(hour, "event_time", price=0.4) for hour in hours]


def _after_the_others(rows: list[Row]) -> list[Row]:
    """Flink reads two files side by side; behind so many rows of another market, these are last."""
    return [{**rows[0], "market_slug": "other"}] * 200_000 + rows


def _jump(number: int, delta: float | None, largest: float) -> Row:
    return {"number": number, "delta": delta, "largest": largest, "moved": 0.0, "weight": 0.7}


TRAPS = (
    Trap("timestamp-with-z", {"articles": [_ARTICLE]}, _NO_ROWTIME),
    Trap("null-time", {"articles": [_ARTICLE, {"market_slug": "m"}]}, _NO_ROWTIME),
    Trap("window-unquoted", {"articles": [_ARTICLE]}, 'Encountered "window"'),
    Trap(
        "lag-after-join",
        {"signals": _signals(10, 11, 12), "prices": _after_the_others(_prices(10, 12))},
        "Unmaterialized BinaryRawValueData cannot be compared",
    ),
    # The signal of 11 comes behind its watermark, and so without its price.
    Trap(
        "interval-join",
        {"signals": _after_the_others(_signals(10, 12, 11)), "prices": _prices(10, 11, 12)},
        [
            {"market": "m", "window": f"2026-03-16T{hour}:00:00Z", "price": found}
            for hour, found in ((10, 0.4), (12, 0.4), (11, None))
        ],
    ),
    Trap(
        "confidence-literal",
        {"jumps": [_jump(1, None, 0.0), _jump(2, 0.0, 0.0), _jump(3, -1.0, 0.0)]},
        [
            {"number": number, "confidence": found}
            for number, found in ((1, None), (2, "1.0"), (3, "-Infinity"))
        ],
    ),
)
