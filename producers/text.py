"""Texts and links as feeds give them, to plain ones."""

from courlan import normalize_url
from selectolax.lexbor import LexborHTMLParser

#: A feed's summary can be the whole article; keywords are looked for in its beginning.
MAX_SUMMARY_CHARS = 20_000
MAX_TITLE_CHARS = 1_000
MAX_SOURCE_CHARS = 200
#: Of a text with markup, so many times more is looked at than is kept.
MARKUP_PER_TEXT = 4
MAX_LINK_CHARS = 4_000


def plain(text: str, limit: int = MAX_SUMMARY_CHARS) -> str:
    """HTML to text: no tags, no entities, no scripts, single spaces, valid UTF-8."""
    # Lone surrogates, as broken feeds have them, cannot be encoded.
    # A parser of HTML needs time that is quadratic in nesting.
    text = text[: MARKUP_PER_TEXT * limit]
    text = text.encode("utf-8", "replace").decode().replace("\0", " ")
    if "<" in text or "&" in text:
        tree = LexborHTMLParser(text)
        tree.strip_tags(["script", "style"])
        text = tree.text(separator=" ")
    return " ".join(text.split())[:limit].strip()


def clean_link(link: str) -> str:
    """An absolute http(s) link without tracking parameters; empty for anything else."""
    link = link.encode("utf-8", "replace").decode().strip()
    if not link.lower().startswith(("http://", "https://")) or len(link) > MAX_LINK_CHARS:
        return ""
    try:
        cleaned: str = normalize_url(link)
    except ValueError:
        return ""
    return cleaned


def without_suffix(title: str, publisher: str) -> str:
    """``"Rates held - CNBC"`` of CNBC is ``"Rates held"``."""
    for dash in (" - ", " \u2013 ", " \u2014 ", " | "):
        head, found, tail = title.rpartition(dash)
        if found and head.strip() and tail.strip().casefold() == publisher.casefold():
            return head.strip()
    return title
