"""Feeds to articles: RSS.app's JSON Feed 1.1, and whatever RSS or Atom feedparser reads. Pure.

A body ends as articles or as stated refusals, whatever it is; no exception escapes.
"""

import calendar
import hashlib
import io
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlsplit
from xml.sax import SAXParseException

import feedparser
import msgspec
from feedparser.datetimes import _parse_date

from marketlag.event_time import DAY, parse_ms
from marketlag.records import MAX_AHEAD_MS
from producers.text import MAX_SOURCE_CHARS, MAX_TITLE_CHARS, clean_link, plain, without_suffix

#: There were no feeds before; an article of 1970 has a broken clock.
OLDEST_MS = 7_305 * DAY  # 1990-01-01
#: Aggregators append the publisher to titles.
AGGREGATORS = frozenset({"news.google.com"})
#: An item without a title takes so much of its text.
TITLE_FROM_TEXT_CHARS = 120
CUT_OFF = "breaks off"
#: Of an item that is refused, so much is kept for the reader.
EXCERPT_CHARS = 2_000

OnBadTime = Literal["fetched", "refuse"]


class FeedArticle(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One article of a feed. ``published_at`` in ms; ``time_replaced``: it is the fetch's time."""

    article_id: str
    title: str
    link: str
    summary: str
    source: str
    published_at: int
    time_replaced: bool = False


class FeedRefusal(msgspec.Struct, frozen=True):
    """Something in a feed that is no article, why, and the beginning of it."""

    reason: str
    excerpt: str = ""


class Parsed(msgspec.Struct, frozen=True):
    """What a body came to."""

    articles: list[FeedArticle]
    refusals: list[FeedRefusal]
    #: False for a body that breaks off: the rest is still to come.
    is_complete: bool = True


class _Item(msgspec.Struct, kw_only=True):
    """What every format has. Times are texts or milliseconds."""

    id: str = ""
    link: str = ""
    title: str = ""
    summary: str = ""
    source: str = ""
    time: int | None = None
    raw: str = ""


class _Author(msgspec.Struct):
    name: str | None = None


class _JsonItem(msgspec.Struct):
    id: str | int | float | None = None
    url: str | None = None
    external_url: str | None = None
    title: str | None = None
    summary: str | None = None
    content_text: str | None = None
    content_html: str | None = None
    date_published: str | None = None
    date_modified: str | None = None


class _JsonFeed(msgspec.Struct):
    items: list[msgspec.Raw]
    title: str | None = None
    home_page_url: str | None = None


class _Feed(msgspec.Struct):
    title: str
    home: str


def parse(
    body: bytes,
    content_type: str,
    url: str,
    fetched_at: int,
    on_bad_time: OnBadTime = "fetched",
) -> Parsed:
    """Read a feed.

    *content_type* is the header as sent, empty if there was none. Relative links are resolved
    against *url*. *fetched_at* is in ms. *on_bad_time* says what becomes of an article without a
    possible time.
    """
    parsed = Parsed([], [])
    try:
        items = _items(body, content_type, url, parsed.refusals)
    except _NotAFeed as exc:
        return Parsed([], [FeedRefusal(str(exc), _excerpt(body))])
    seen: set[str] = set()
    for feed, item in items:
        try:
            article = _article(feed, item, url, fetched_at, on_bad_time)
        except _NoArticle as exc:
            parsed.refusals.append(FeedRefusal(str(exc), item.raw))
            continue
        if article.article_id not in seen:
            seen.add(article.article_id)
            parsed.articles.append(article)
    is_complete = not any(refusal.reason.startswith(CUT_OFF) for refusal in parsed.refusals)
    return msgspec.structs.replace(parsed, is_complete=is_complete)


class _NotAFeed(Exception):
    """The text says what it is instead."""


class _NoArticle(Exception):
    """The text says what is missing."""


def _items(
    body: bytes, content_type: str, url: str, refusals: list[FeedRefusal]
) -> list[tuple[_Feed, _Item]]:
    if not body.strip():
        raise _NotAFeed("empty body")
    if "json" in content_type.lower() or body.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        return list(_json_items(body, refusals))
    return list(_xml_items(body, content_type, url, refusals))


# --- JSON Feed


def _json_items(body: bytes, refusals: list[FeedRefusal]) -> Iterator[tuple[_Feed, _Item]]:
    try:
        found = msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"), type=_JsonFeed)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise _NotAFeed(f"not a JSON feed: {exc}") from None
    feed = _Feed(plain(found.title or "", MAX_SOURCE_CHARS), clean_link(found.home_page_url or ""))
    for raw in found.items:
        try:
            item = msgspec.json.decode(raw, type=_JsonItem)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            refusals.append(FeedRefusal(f"not an item of a JSON feed: {exc}", _excerpt(bytes(raw))))
            continue
        text = item.summary or item.content_text or item.content_html or ""
        yield (
            feed,
            _Item(
                id="" if item.id is None else str(item.id),
                link=item.url or item.external_url or "",
                title=item.title or "",
                summary=text,
                time=_time_of(item.date_published or item.date_modified or ""),
                raw=_excerpt(bytes(raw)),
            ),
        )


def _time_of(text: str) -> int | None:
    try:
        return parse_ms(text)
    except ValueError:
        return _milliseconds(_quietly(_parse_date, text))


# --- RSS and Atom


def _xml_items(
    body: bytes, content_type: str, url: str, refusals: list[FeedRefusal]
) -> Iterator[tuple[_Feed, _Item]]:
    headers = {"content-type": content_type, "content-location": url}
    try:
        # Of bytes alone feedparser would think that a short body is a file's name.
        found = feedparser.parse(io.BytesIO(body), response_headers=headers)
        entries = list(found.get("entries", []))
        channel = found.get("feed", {})
        problem = found.get("bozo_exception")
    except Exception as exc:  # noqa: BLE001  # feedparser's own bugs are not ours to die of
        raise _NotAFeed(f"feedparser cannot read it: {type(exc).__name__}: {exc}") from None
    if not found.get("version") and not entries:
        raise _NotAFeed(_what_it_is(body, content_type, problem))
    if isinstance(problem, SAXParseException):
        is_cut_off = _is_cut_off(body)
        reason = f"{problem.getMessage()} in line {problem.getLineNumber()}"
        reason = f"{CUT_OFF if is_cut_off else 'not well-formed XML'}: {reason}"
        refusals.append(FeedRefusal(reason, _excerpt(body)))
        if is_cut_off:
            # The last item may be half of itself, and would be remembered so.
            entries = entries[:-1]
    title = plain(_text(channel, "title"), MAX_SOURCE_CHARS)
    feed = _Feed(title, clean_link(_text(channel, "link")))
    for entry in entries:
        content = entry.get("content") or [{}]
        yield (
            feed,
            _Item(
                id=_text(entry, "id"),
                link=_text(entry, "link"),
                title=_text(entry, "title"),
                summary=_text(entry, "summary") or _text(content[0], "value"),
                source=plain(_text(entry.get("source") or {}, "title"), MAX_SOURCE_CHARS),
                time=_entry_time(entry),
                raw=_excerpt(repr(dict(entry)).encode("utf-8", "replace")),
            ),
        )


def _is_cut_off(body: bytes) -> bool:
    tail = body.rstrip().lower()
    return not tail.endswith((b"</rss>", b"</feed>", b"</rdf:rdf>", b"-->"))


def _what_it_is(body: bytes, content_type: str, problem: object) -> str:
    if b"<html" in body[:4_096].lower() or "html" in content_type.lower():
        title = plain(body[:4_096].decode("utf-8", "replace"), 80)
        return f"an HTML page, not a feed: {title}"
    return f"not a feed: {problem or 'no items of RSS or Atom in it'}"


def _text(entry: Any, name: str) -> str:
    found = entry.get(name)
    return found if isinstance(found, str) else ""


def _entry_time(entry: Any) -> int | None:
    for name in ("published_parsed", "updated_parsed", "created_parsed"):
        # FeedParserDict answers for a missing "updated" with "published", and warns about it.
        if dict.__contains__(entry, name) and (time := _milliseconds(entry[name])) is not None:
            return time
    return None


def _milliseconds(parsed: Any) -> int | None:
    try:
        return calendar.timegm(parsed) * 1_000
    except (TypeError, ValueError, OverflowError):
        return None


def _quietly(function: Any, text: str) -> Any:
    try:
        return function(text)
    except Exception:  # noqa: BLE001  # as feedparser does with its own date handlers
        return None


# --- both


def _article(
    feed: _Feed, item: _Item, url: str, fetched_at: int, on_bad_time: OnBadTime
) -> FeedArticle:
    link = clean_link(item.link) or clean_link(item.id) or feed.home or url
    # Posts of microblogs have no title.
    title = plain(item.title, MAX_TITLE_CHARS) or plain(item.summary, TITLE_FROM_TEXT_CHARS)
    if not title:
        raise _NoArticle("an item without a title")
    source = item.source or _publisher(title, link) or feed.title or urlsplit(link).hostname or ""
    title = without_suffix(title, source)
    time = item.time if _is_possible(item.time, fetched_at) else None
    if time is None and on_bad_time == "refuse":
        missing = "no time" if item.time is None else "a time that cannot be"
        raise _NoArticle(f"an item with {missing}")
    return FeedArticle(
        article_id=_identity(item, source, title, time),
        title=title,
        link=link,
        summary=plain(item.summary),
        source=source,
        published_at=fetched_at if time is None else time,
        time_replaced=time is None,
    )


def _publisher(title: str, link: str) -> str:
    """Who an aggregator says that it has it from."""
    if urlsplit(link).hostname not in AGGREGATORS:
        return ""
    head, _, tail = title.rpartition(" - ")
    return tail.strip()[:MAX_SOURCE_CHARS] if head.strip() else ""


def _is_possible(time: int | None, fetched_at: int) -> bool:
    return time is not None and OLDEST_MS <= time <= fetched_at + MAX_AHEAD_MS


def _identity(item: _Item, source: str, title: str, time: int | None) -> str:
    """The id or guid, else the link, else a hash of source, title and time.

    The fetch's time is not an article's own: the next fetch has another.
    """
    given = plain(item.id, MAX_TITLE_CHARS) or clean_link(item.link)
    if given:
        return given
    text = "\0".join((source, title, str(time or "")))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _excerpt(raw: bytes) -> str:
    return raw[:EXCERPT_CHARS].decode("utf-8", "replace")
