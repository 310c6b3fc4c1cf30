"""Reads what a replay sends: JSON lines as on the topics, or CSV files of prices and headlines."""

import csv
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from marketlag.errors import InputError
from marketlag.event_time import DAY, HOUR, SECOND, format_ms, from_datetime, parse_ms
from marketlag.markets import KeywordMatcher, Markets
from marketlag.records import Price

HEADLINE_COLUMNS = {"first_seen_unix", "source", "url"}
PRICE_COLUMNS = {"event", "bracket", "hour", "close"}
#: A market's first article may come this long before its first price.
BEFORE_FIRST_PRICE = DAY


class Outgoing(NamedTuple):
    """A record to send. ``time`` is its event time (ms), where one could be read."""

    key: bytes | None
    value: bytes
    time: int | None


class _Line(msgspec.Struct):
    market_slug: str = ""
    outcome: str = ""
    published_at: str = ""
    event_time: str = ""


_decode_line = msgspec.json.Decoder(_Line).decode


def read_articles(path: Path, markets: Markets, prices: Sequence[Outgoing]) -> list[Outgoing]:
    """Articles in order of the file. Raises ``InputError``.

    A CSV of headlines (``first_seen_unix,source,url``) has no titles: the words of the URL's slug
    are the title. Each is matched with every market that has a price in *prices* around its time.
    """
    if path.suffix != ".csv":
        return _json_lines(path, "published_at")
    rows = _csv_rows(path, HEADLINE_COLUMNS)
    return list(_headlines(rows, markets, _priced_spans(prices)))


def read_prices(path: Path) -> list[Outgoing]:
    """Prices in order of the file. Raises ``InputError``.

    A CSV (``event,bracket,hour,close``) makes each bracket a market ``event-bracket`` with the
    outcome YES. The price of an hour is its last trade, the delta that to the last hour with a
    trade; an hour without a trade has no row and so no price.
    """
    if path.suffix != ".csv":
        return _json_lines(path, "event_time")
    return list(_traded_prices(_csv_rows(path, PRICE_COLUMNS)))


def _json_lines(path: Path, time_field: str) -> list[Outgoing]:
    return [_outgoing(line, time_field) for line in _lines(path) if line]


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}") from None


def _outgoing(line: bytes, time_field: str) -> Outgoing:
    """A line is sent as it is, also a bad one: refusing it is the pipeline's business."""
    try:
        known = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Outgoing(None, line, None)
    key = f"{known.market_slug}|{known.outcome}" if known.outcome else known.market_slug
    try:
        time = parse_ms(getattr(known, time_field))
    except ValueError:
        time = None
    return Outgoing(key.encode() or None, line, time)


def _csv_rows(path: Path, columns: set[str]) -> list[dict[str, str]]:
    text = b"\n".join(_lines(path)).decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(text.splitlines())
    missing = columns - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{path} has no column {', '.join(sorted(missing))}")
    return list(reader)


def _traded_prices(rows: list[dict[str, str]]) -> Iterator[Outgoing]:
    last: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: row["hour"]):
        slug = f"{row['event']}-{row['bracket']}"
        try:
            hour = from_datetime(datetime.fromisoformat(row["hour"]))
            close = float(row["close"])
        except (ValueError, TypeError) as exc:
            raise InputError(f"price of {slug} at {row['hour']!r}: {exc}") from None
        previous = last.get(slug)
        price = Price(
            market_slug=slug,
            outcome="YES",
            price=close,
            prev_price=previous,
            price_delta=0.0 if previous is None else close - previous,
            event_time=format_ms(hour),
            fetched_at=format_ms(hour + HOUR),
        )
        last[slug] = close
        yield Outgoing(f"{slug}|YES".encode(), msgspec.json.encode(price), hour)


def _priced_spans(prices: Sequence[Outgoing]) -> dict[str, tuple[int, int]]:
    spans: dict[str, tuple[int, int]] = {}
    for price in prices:
        if price.key is not None and price.time is not None:
            slug = price.key.decode().rpartition("|")[0]
            first, last = spans.get(slug, (price.time, price.time))
            spans[slug] = min(first, price.time), max(last, price.time)
    return spans


def _headlines(
    rows: list[dict[str, str]], markets: Markets, spans: dict[str, tuple[int, int]]
) -> Iterator[Outgoing]:
    matchers = {slug: KeywordMatcher(markets.keywords(slug)) for slug in spans}
    for row in rows:
        try:
            seen = int(row["first_seen_unix"]) * SECOND
        except ValueError:
            raise InputError(f"first_seen_unix is no number: {row['first_seen_unix']!r}") from None
        title = _slug_words(row["url"])
        for slug, (first, last) in spans.items():
            scores = matchers[slug].scores(title)
            if scores and first - BEFORE_FIRST_PRICE <= seen < last + HOUR:
                article = {
                    "market_slug": slug,
                    "article_id": row["url"],
                    "title": title,
                    "link": row["url"],
                    "summary": "",
                    "published_at": format_ms(seen),
                    "source": row["source"],
                    "source_weight": markets.source_weight(row["source"]),
                    "keywords": list(scores),
                    "keyword_scores": scores,
                    "keyword_score": sum(scores.values()),
                    "fetched_at": format_ms(seen),
                }
                yield Outgoing(slug.encode(), msgspec.json.encode(article), seen)


def _slug_words(url: str) -> str:
    """The words of a URL's path, which is all that is left of a headline."""
    return " ".join(re.findall(r"[A-Za-z']+", urlsplit(url).path))
