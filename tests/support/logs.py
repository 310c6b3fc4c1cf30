"""Builds partition logs out of short words."""

import json
from dataclasses import dataclass, field
from typing import Any

from marketlag.event_time import MINUTE, format_ms, parse_ms

#: When a record arrives, unless a test says otherwise: after every time in the tests.
ARRIVAL = parse_ms("2026-01-01T00:00:00Z")


@dataclass(frozen=True)
class Record:
    """A record as it stands in a partition's log."""

    offset: int
    value: bytes | None
    key: bytes | None = b"m"
    timestamp: int = ARRIVAL
    headers: tuple[tuple[str, bytes], ...] = field(default=())


def at(clock: str, day: int = 1) -> int:
    """``at("10:30")`` and ``at("11:04:59.999", day=2)``: ms, in January 2025."""
    hour, minute, *rest = clock.split(":")
    second = rest[0] if rest else "00"
    return parse_ms(f"2025-01-{day:02d}T{hour}:{minute}:{second}Z")


def article(published: int | str, market: str = "m", **fields: Any) -> dict[str, Any]:
    """The value of an article; scores 1 with weight 1 unless told."""
    return {
        "market_slug": market,
        "title": "t",
        "link": "l",
        "published_at": format_ms(published) if isinstance(published, int) else published,
        "source_weight": 1.0,
        "keyword_score": 1.0,
        **fields,
    }


def price(
    hour: int, value: float = 0.5, delta: float | None = 0.0, **fields: Any
) -> dict[str, Any]:
    """The value of a price, fetched a minute into its hour."""
    return {
        "market_slug": "m",
        "outcome": "YES",
        "price": value,
        "price_delta": delta,
        "event_time": format_ms(hour),
        "fetched_at": format_ms(hour + MINUTE),
        **fields,
    }


def heartbeat(time: int) -> dict[str, Any]:
    return {"market_slug": "__heartbeat__", "published_at": format_ms(time)}


def log(*values: dict[str, Any] | bytes | Record, start: int = 0) -> list[Record]:
    """A log of these values, keyed by their market."""
    return [
        value if isinstance(value, Record) else record(start + index, value)
        for index, value in enumerate(values)
    ]


def record(offset: int, value: dict[str, Any] | bytes, **fields: Any) -> Record:
    if isinstance(value, bytes):
        return Record(offset, value, **fields)
    key = value.get("market_slug", "")
    return Record(offset, json.dumps(value).encode(), **{"key": key.encode() or None, **fields})
