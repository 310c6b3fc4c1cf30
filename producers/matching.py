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


class Matcher:
    """Scores articles for markets."""

    def __init__(self, markets: Markets) -> None:
        self._markets = markets
        self._matchers = {
            market.slug: KeywordMatcher(markets.keywords(market.slug)) for market in markets.market
        }

    def records(
        self, article: FeedArticle, slugs: Sequence[str], fetched_at: int
    ) -> list[EventRecord]:
        """One record for each of the markets *slugs* that the article concerns."""
        found = []
        host = urlsplit(article.link).hostname or ""
        weight = self._markets.source_weight(article.source, host)
        for slug in slugs:
            scores = self._matchers[slug].scores(article.title, article.summary)
            if scores:
                found.append(
                    EventRecord(
                        market_slug=slug,
                        article_id=article.article_id,
                        title=article.title,
                        link=article.link,
                        summary=article.summary,
                        published_at=format_ms(article.published_at),
                        source=article.source,
                        source_weight=weight,
                        keywords=list(scores),
                        keyword_scores=scores,
                        keyword_score=sum(scores.values()),
                        fetched_at=format_ms(fetched_at),
                        time_replaced=article.time_replaced,
                    )
                )
        return found
