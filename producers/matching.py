"""An article to records of ``rss.events``: one for each market whose keywords occur in it. Pure."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

from marketlag.event_time import format_ms
from marketlag.markets import KeywordMatcher, Markets
from producers.rss import FeedArticle


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``rss.events`` in full. ``time_replaced``: ``published_at`` is the time of the fetch."""

    market_slug: str
    article_id: str
    title: str
    link: str
    summary: str
    published_at: str
    source: str
    source_weight: float
    keywords: list[str]
    keyword_scores: dict[str, float]
    keyword_score: float
    fetched_at: str
    time_replaced: bool = False


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """An article and the markets that it concerns: its records of ``rss.events``, written small.

    Attributes:
        fetched_at: ms.
        scores: ``weight * occurrences`` of each keyword that occurs, by market.
    """

    article: FeedArticle
    fetched_at: int
    source_weight: float
    scores: dict[str, dict[str, float]]


class Matcher:
    """Scores articles for markets."""

    def __init__(self, markets: Markets) -> None:
        self._markets = markets
        self._matchers = {
            market.slug: KeywordMatcher(markets.keywords(market.slug)) for market in markets.market
        }

    def match(self, article: FeedArticle, slugs: Sequence[str], fetched_at: int) -> Outbox | None:
        """Which of the markets *slugs* the article concerns; ``None`` if none of them."""
        texts = article.title, article.summary
        scores = {slug: self._matchers[slug].scores(*texts) for slug in slugs}
        scores = {slug: found for slug, found in scores.items() if found}
        if not scores:
            return None
        host = urlsplit(article.link).hostname or ""
        return Outbox(
            article=article,
            fetched_at=fetched_at,
            source_weight=self._markets.source_weight(article.source, host),
            scores=scores,
        )


def records(outbox: Outbox) -> list[EventRecord]:
    """One record a market; the same ones whenever they are made."""
    article = outbox.article
    return [
        EventRecord(
            market_slug=slug,
            article_id=article.article_id,
            title=article.title,
            link=article.link,
            summary=article.summary,
            published_at=format_ms(article.published_at),
            source=article.source,
            source_weight=outbox.source_weight,
            keywords=list(scores),
            keyword_scores=scores,
            keyword_score=sum(scores.values()),
            fetched_at=format_ms(outbox.fetched_at),
            time_replaced=article.time_replaced,
        )
        for slug, scores in outbox.scores.items()
    ]
