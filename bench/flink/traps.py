"""What goes wrong in Flink SQL as one would first write it: the scripts of ``docs/flink/traps``."""

import json
from pathlib import Path
from typing import NamedTuple

from bench.flink.runner import SQL, Row

FOLDER = SQL / "traps"


class Trap(NamedTuple):
    """A script and what it reads.

    ``outcome``: what Flink makes of it, rows; or, as text, part of the reason why it fails, or of
    the plan that it explains.
    """

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
            return self.outcome in str(found)
        return found == self.outcome


def _article(clock: str | None, **fields: float) -> Row:
    return {"market_slug": "m", "published_at": clock and f"2025-01-01T{clock}Z", **fields}


def _signal(hour: int, value: float) -> Row:
    return {"market_slug": "m", "window_start": f"2025-01-01T{hour}:00:00Z", "signal": value}


def _priced(hour: int, value: float, price: float | None) -> Row:
    return {**_signal(hour, value), "price": price}


_LATE_PRICE: list[Row] = [
    {"before": None, "after": _priced(10, 2.0, None), "op": "c"},
    {"before": None, "after": _priced(11, 3.0, None), "op": "c"},
    {"before": _priced(11, 3.0, None), "after": _priced(11, 3.0, 0.5), "op": "u"},
]
_CONFIDENCES = (
    # delta, largest so far, and the share of it: capped, floored, both, as it works.
    (None, 0.0, None, "0.0", "0.0", 0.0),
    (0.0, 0.0, "1.0", "NaN", "1.0", 0.0),
    (-1.0, 0.0, "-Infinity", "-Infinity", "0.0", 0.0),
    (-1.0, 2.0, "-0.5", "-0.5", "0.0", 0.0),
    (1.0, 2.0, "0.5", "0.5", "0.5", 0.5),
)
_NULL_TIME = "RowTime field should not be null, please convert it to a non-null long value."
_NO_LAG_OF_UPDATES = "UnsupportedOperationException: Unmaterialized BinaryRawValueData"

TRAPS = (
    Trap("iso-8601-with-z", {"articles": [_article("10:00:00")]}, _NULL_TIME),
    Trap(
        "iso-8601-with-z-strict",
        {"articles": [_article("10:00:00")]},
        "JsonParseException: Fail to deserialize at field: published_at.",
    ),
    Trap("iso-8601-with-z-null", {"articles": [_article("10:00:00")]}, [_article(None)]),
    Trap("null-time", {"articles": [_article("10:00:00"), _article(None)]}, _NULL_TIME),
    Trap("window-unquoted", {}, 'ParseException: Encountered "window" at line 1, column 37.'),
    Trap(
        "lag-after-join",
        {},
        "StreamPhysicalOverAggregate doesn't support consuming update and delete changes which is "
        "produced by node Join(joinType=[LeftOuterJoin]",
    ),
    Trap("lag-over-late-price", {"joined": _LATE_PRICE}, _NO_LAG_OF_UPDATES),
    Trap(
        "lag-out-of-order",
        {"signals": [_signal(10, 2.0), _signal(12, 1.0), _signal(11, 2.0)]},
        _NO_LAG_OF_UPDATES,
    ),
    Trap("interval-join", {}, "IntervalJoin(joinType=[LeftOuterJoin]"),
    Trap("regular-join", {}, "- Join(joinType=[LeftOuterJoin]"),
    Trap(
        "sums-of-parts",
        {
            "articles": [
                _article("10:30:00", keyword_score=7.0),
                _article("11:06:00", keyword_score=0.1),
                _article("11:10:00", keyword_score=0.2),
                _article("11:11:00", keyword_score=0.3),
            ]
        },
        [
            {"window_start": "2025-01-01 10:00:00", "keyword_score": 7.0},
            {"window_start": "2025-01-01 11:00:00", "keyword_score": 0.6},
        ],
    ),
    Trap(
        "confidence-literal",
        {
            "jumps": [
                {"signal_delta": delta, "max_signal_delta": largest}
                for delta, largest, *_ in _CONFIDENCES
            ]
        },
        [
            {
                "signal_delta": delta,
                "capped": capped,
                "floored": floored,
                "both": both,
                "works": works,
            }
            for delta, _, capped, floored, both, works in _CONFIDENCES
        ],
    ),
)
