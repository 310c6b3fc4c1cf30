"""A flagged hour in words."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from marketlag.flags import Row, price_state


class Behind(msgspec.Struct, frozen=True):
    """An article that was counted in an hour, and what it weighed."""

    title: str
    link: str
    weight: float


class Message(NamedTuple):
    """What a channel is given."""

    title: str
    body: str


#: Links in one message; the others are counted.
MAX_LINKS = 5


def message_of(row: Row, question: str, behind: Sequence[Behind] | None) -> Message:
    """Say it: market, hour, signal, price, confidence and articles.

    Args:
        row: of ``lag_signals_history``.
        question: of the market; may be empty.
        behind: the articles, those that weigh most first; ``None`` if they could not be read.
    """
    lines = [
        *([question] if question else []),
        f"Hour: {row['window']:%Y-%m-%d %H:%M} UTC, confidence {row['confidence']:.2f}",
        f"News: signal {row['rss_signal']:.2f}{_jump(row)}, {_count(row['mention_count'])}",
        f"Price: {_price(row)}",
        *_links(behind),
    ]
    return Message(f"{row['market']}: the news jumped, the price did not", "\n".join(lines))


def _jump(row: Row) -> str:
    parts = []
    if row["signal_delta"] is not None:
        parts.append(f"{row['signal_delta']:+.2f} on the hour before")
    if row["signal_zscore"] is not None:
        parts.append(f"z {row['signal_zscore']:+.1f}")
    return f" ({', '.join(parts)})" if parts else ""


def _count(articles: int) -> str:
    return "1 article" if articles == 1 else f"{articles} articles"


def _price(row: Row) -> str:
    state = price_state(row)
    if state == "missing":
        return f"nobody gave one for {row['outcome']} in this hour"
    said = f"{row['outcome']} {row['price']:.3f} ({row['price_delta']:+.3f})"
    return said if state == "fresh" else f"{said}, carried on: nobody gave one in this hour"


def _links(behind: Sequence[Behind] | None) -> list[str]:
    if behind is None:
        return ["Articles: the topic could not be read"]
    shown = [f"- {article.title} {article.link}".rstrip() for article in behind[:MAX_LINKS]]
    more = len(behind) - len(shown)
    return [*shown, *([f"- and {more} more"] if more else [])]
