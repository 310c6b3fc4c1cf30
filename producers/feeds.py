"""The RSS producer: feeds to ``rss.events``, each article once.

An article is remembered with its records before these are published (an outbox), and without them
when Kafka has confirmed them. Whoever takes over in between publishes the same bytes again: nothing
is missing, and a record that is there twice has the same id in the same window.
"""

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence

import msgspec

from marketlag.event_time import DAY
from marketlag.settings import Settings
from marketlag.topics import RSS_EVENTS
from producers.fetch import Fetched, Fetcher, FetchFailed, without_user
from producers.matching import Matcher, Outbox, records
from producers.publish import HealthLog, Status, send_poll, send_refusal
from producers.rss import FeedRefusal, Parsed, parse
from producers.state import Clock, Facts, FeedFact, Outlet, SeenFact, Tenure

logger = logging.getLogger(__name__)

#: An article that left its feed is forgotten after it.
REMEMBERED_MS = 7 * DAY
#: ``last_seen`` is not written anew at each poll.
SEEN_PRECISION_MS = DAY
PARSE_SECONDS = 30


class FeedProducer:
    """Polls feeds, one at a time each; any number at once."""

    def __init__(
        self,
        settings: Settings,
        feeds: Mapping[str, Sequence[str]],
        matcher: Matcher,
        *,
        known: Facts[FeedFact],
        seen: Facts[SeenFact],
        outlet: Outlet,
        fetcher: Fetcher,
        health: HealthLog,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._feeds = feeds
        self._matcher = matcher
        self._known, self._seen = known, seen
        self._outlet, self._fetcher = outlet, fetcher
        self._health, self._clock = health, clock

    def is_due(self, tenure: Tenure, feed: str, slot: int) -> bool:
        """Whether the feed was not polled since the *slot* of the schedule began (ms)."""
        fact = self._known.fact(tenure.partition, feed)
        return fact is None or (fact.polled_at < slot and fact.not_before <= self._clock())

    async def poll(self, tenure: Tenure, feed: str) -> None:
        """Fetch a feed, publish what is new in it, and tell that it was polled."""
        if not tenure.is_held():
            return
        now = self._clock()
        before = self._known.fact(tenure.partition, feed)
        before = before or FeedFact(polled_at=now, first_polled_at=now)
        try:
            fetched = await self._fetcher.get(feed, headers=_conditions(before))
        except FetchFailed as exc:
            await self._failed(feed, exc)
            not_before = self._clock() + round((exc.retry_after or 0) * 1_000)
            after = msgspec.structs.replace(before, polled_at=now, not_before=not_before)
        else:
            problem = await self._take(tenure, feed, fetched, now) if fetched.modified else None
            status: Status = "failed" if problem else "ok" if fetched.modified else "not_modified"
            self._health.add(feed, status, fetched.milliseconds, problem)
            after = before if problem else _answered(before, fetched, now)
            after = msgspec.structs.replace(after, polled_at=now, not_before=0)
        if tenure.is_held():
            await send_poll(
                self._outlet,
                "rss",
                feed,
                polled_at=now,
                answered_at=after.answered_at,
                waiting_since=after.answered_at or after.first_polled_at,
            )
        # Told first: killed in between, the feed is polled and told again.
        if tenure.is_held():
            self._known.put(tenure.partition, feed, fact=after)

    async def _failed(self, feed: str, exc: FetchFailed) -> None:
        logger.warning("%s: %s", without_user(feed), exc)
        self._health.add(feed, "failed", exc.milliseconds, str(exc))
        await send_refusal(self._outlet, RSS_EVENTS, feed, str(exc), exc.body)

    async def _take(self, tenure: Tenure, feed: str, fetched: Fetched, now: int) -> str | None:
        """Publish what is new. Returns the reason if it was no feed, or not a whole one."""
        parsed = await self._parse(feed, fetched, now)
        if not tenure.is_held():
            return None  # its next owner reads it anew
        fresh = self._remember(tenure.partition, feed, parsed, now)
        refused = self._remember_refused(tenure.partition, feed, parsed, now)
        await self._outlet.flush()
        await self._publish_outboxes(tenure, feed, fresh)
        for refusal in refused:
            logger.warning("%s: %s", without_user(feed), refusal.reason)
            await send_refusal(
                self._outlet, RSS_EVENTS, feed, refusal.reason, refusal.excerpt.encode()
            )
        is_whole = parsed.is_complete and (parsed.articles or not parsed.refusals)
        return None if is_whole else parsed.refusals[0].reason

    async def _parse(self, feed: str, fetched: Fetched, now: int) -> Parsed:
        """Off the event loop: a large feed takes feedparser a second, and Kafka wants attention."""
        bad_time = self._settings.feed_bad_time
        work = asyncio.to_thread(parse, fetched.body, fetched.content_type, feed, now, bad_time)
        try:
            async with asyncio.timeout(PARSE_SECONDS):
                return await work
        except TimeoutError:
            return Parsed([], [FeedRefusal(f"not read to its end within {PARSE_SECONDS} s")])

    def _remember(self, partition: int, feed: str, parsed: Parsed, now: int) -> dict[str, Outbox]:
        """Note every article of a body. Returns the outboxes of the new ones, oldest first."""
        fresh = {}
        for article in sorted(parsed.articles, key=lambda article: article.published_at):
            fact = self._seen.fact(partition, feed, article.article_id)
            if fact is None:
                # Also without a record: keywords that change later concern later articles.
                outbox = self._matcher.match(article, self._feeds[feed], now)
                fact = SeenFact(last_seen=now, outbox=outbox)
                if outbox is not None:
                    fresh[article.article_id] = outbox
            elif now - fact.last_seen > SEEN_PRECISION_MS:
                fact = msgspec.structs.replace(fact, last_seen=now)
            else:
                continue
            self._seen.put(partition, feed, article.article_id, fact=fact)
        return fresh

    def _remember_refused(
        self, partition: int, feed: str, parsed: Parsed, now: int
    ) -> list[FeedRefusal]:
        """The refusals that are not known yet: a feed shows its broken items at every poll."""
        fresh = []
        for refusal in parsed.refusals:
            text = f"{refusal.reason}\0{refusal.excerpt}"
            key = "refused:" + hashlib.sha256(text.encode()).hexdigest()[:32]
            fact = self._seen.fact(partition, feed, key)
            if fact is None:
                fresh.append(refusal)
            if fact is None or now - fact.last_seen > SEEN_PRECISION_MS:
                self._seen.put(partition, feed, key, fact=SeenFact(last_seen=now))
        return fresh

    async def _publish_outboxes(
        self, tenure: Tenure, feed: str, outboxes: Mapping[str, Outbox]
    ) -> None:
        for outbox in outboxes.values():
            for record in records(outbox):
                await self._outlet.publish(
                    RSS_EVENTS, msgspec.json.encode(record), key=record.market_slug.encode()
                )
        await self._outlet.flush()
        if not tenure.is_held():
            return  # its next owner publishes it again
        now = self._clock()
        for article_id in outboxes:
            self._seen.put(tenure.partition, feed, article_id, fact=SeenFact(last_seen=now))

    async def take_over(self, tenure: Tenure) -> None:
        """Publish what somebody before us had read and not published for certain.

        Before anything is polled under this tenure: what is being published is in its outbox, too.
        """
        if not tenure.is_held():
            return
        left: dict[str, dict[str, Outbox]] = {}
        for (feed, article_id), fact in self._seen.facts(tenure.partition):
            if fact.outbox is not None:
                left.setdefault(feed, {})[article_id] = fact.outbox
        for feed, outboxes in left.items():
            logger.info("%s: publishing %s left-over articles", without_user(feed), len(outboxes))
            await self._publish_outboxes(tenure, feed, outboxes)

    async def forget(self, tenure: Tenure) -> None:
        """Forget the articles that left their feeds a week ago."""
        if not tenure.is_held():
            return
        now = self._clock()
        over = [
            key
            for key, fact in self._seen.facts(tenure.partition)
            if fact.outbox is None and self._is_over(tenure.partition, key[0], fact, now)
        ]
        for key in over:
            self._seen.delete(tenure.partition, *key)

    def _is_over(self, partition: int, feed: str, fact: SeenFact, now: int) -> bool:
        """Whether an article has left its feed for good.

        A slow feed shows the same body for months, and says "not modified" to each poll.
        """
        of = self._known.fact(partition, feed)
        newest = of.body_at if of is not None and feed in self._feeds else now
        return newest - fact.last_seen > REMEMBERED_MS + SEEN_PRECISION_MS


def _conditions(fact: FeedFact) -> dict[str, str]:
    found = {"If-None-Match": fact.etag, "If-Modified-Since": fact.last_modified}
    return {name: value for name, value in found.items() if value}


def _answered(before: FeedFact, fetched: Fetched, now: int) -> FeedFact:
    if not fetched.modified:
        return msgspec.structs.replace(before, answered_at=now)
    return FeedFact(
        polled_at=now,
        first_polled_at=before.first_polled_at,
        answered_at=now,
        body_at=now,
        etag=fetched.etag,
        last_modified=fetched.last_modified,
    )
