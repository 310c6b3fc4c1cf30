"""The price producer: Polymarket to ``polymarket.price_hourly`` and ``polymarket.market_meta``.

A market is looked up at Gamma by its slug, at half past each hour, so that its end is noticed.
Prices come from the CLOB on the hour, many tokens a call. What was told is remembered after Kafka
has it: a price that is told twice differs in ``fetched_at``, and the later one counts.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec
from aiolimiter import AsyncLimiter

from marketlag.errors import FetchError
from marketlag.event_time import HOUR, MINUTE, format_ms
from marketlag.records import Price
from marketlag.settings import Settings
from marketlag.topics import MARKET_META, PRICE_HOURLY
from producers import polymarket
from producers.fetch import Fetcher, FetchFailed
from producers.hours import prices_of_hour
from producers.polymarket import PolymarketMarket
from producers.publish import Api, HealthLog, send_poll, send_refusal
from producers.state import Clock, Facts, MarketFact, Outlet, Tenure

logger = logging.getLogger(__name__)

#: A market without a price in this hour is asked again.
ASK_AGAIN_MS = 5 * MINUTE
#: Markets are looked up at half past: on the hour it is their prices that are wanted at once.
DESCRIBED_AT_MS = 30 * MINUTE
NOT_FOUND = 404


class MarketMeta(msgspec.Struct, frozen=True, kw_only=True):
    """``polymarket.market_meta``."""

    market_slug: str
    question: str
    outcomes: list[str]
    token_ids: list[str]
    closed: bool
    end_date: str | None
    condition_id: str | None
    fetched_at: str


class Polymarket:
    """The two APIs, within their documented limits.

    Args:
        shares: so many processes may ask at the same time; each takes its share of the limits.
    """

    def __init__(
        self, settings: Settings, fetcher: Fetcher, health: HealthLog, shares: int = 1
    ) -> None:
        self._gamma, self._clob = settings.gamma_url.rstrip("/"), settings.clob_url.rstrip("/")
        self._fetcher, self._health = fetcher, health
        seconds = polymarket.LIMIT_SECONDS
        # A limiter that lets a burst of n through and n per period after it may pass 2n within the
        # first period.
        self._gamma_limit = AsyncLimiter(max(1, polymarket.GAMMA_LIMIT // 2 // shares), seconds)
        self._price_limit = AsyncLimiter(max(1, polymarket.PRICES_LIMIT // 2 // shares), seconds)
        self._history_limit = AsyncLimiter(max(1, polymarket.HISTORY_LIMIT // 2 // shares), seconds)

    async def market(self, slug: str) -> PolymarketMarket:
        """Look a market up. Raises ``FetchError``."""
        url = f"{self._gamma}/markets/slug/{slug}"
        try:
            return polymarket.read_market(await self._get(url, self._gamma_limit, "gamma"))
        except FetchFailed as exc:
            if exc.status != NOT_FOUND:
                raise
        url = f"{self._gamma}/events?slug={slug}"
        return polymarket.read_event(await self._get(url, self._gamma_limit, "gamma"), slug)

    async def prices(
        self, tokens: Sequence[str], kind: polymarket.PriceKind
    ) -> tuple[dict[str, float], list[FetchError]]:
        """Prices by token, of those that have one, and why calls failed."""
        found: dict[str, float] = {}
        failures: list[FetchError] = []
        path, calls = polymarket.price_calls(tokens, kind)
        url = self._clob + path
        for call in calls:
            try:
                fetched = await self._fetcher.post(url, call, limit=self._price_limit)
                prices = polymarket.read_prices(fetched.body, kind)
            except FetchError as exc:
                failures.append(exc)
                milliseconds = exc.milliseconds if isinstance(exc, FetchFailed) else 0
                self._health.add(url, "failed", milliseconds, str(exc), api="clob")
            else:
                self._health.add(url, "ok", fetched.milliseconds, api="clob")
                found |= prices
        return found, failures

    async def history(self, token: str, start: int, end: int) -> dict[int, float]:
        """Price by hour of one window. Raises ``FetchError``."""
        url = (
            f"{self._clob}/prices-history?market={token}&startTs={start // 1_000}"
            f"&endTs={(end + HOUR) // 1_000 - 1}&fidelity={polymarket.HISTORY_FIDELITY_MINUTES}"
        )
        return polymarket.read_history(
            await self._get(url, self._history_limit, "clob"), start, end
        )

    async def _get(self, url: str, limit: AsyncLimiter, api: Api) -> bytes:
        try:
            fetched = await self._fetcher.get(url, limit=limit)
        except FetchFailed as exc:
            self._health.add(url, "failed", exc.milliseconds, str(exc), api=api)
            raise
        self._health.add(url, "ok", fetched.milliseconds, api=api)
        return fetched.body


class PriceProducer:
    """Tells the hourly prices of the markets of a partition, all in a few calls."""

    def __init__(
        self,
        settings: Settings,
        *,
        known: Facts[MarketFact],
        outlet: Outlet,
        api: Polymarket,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._known, self._outlet = known, outlet
        self._api, self._clock = api, clock

    def is_due(self, tenure: Tenure, slug: str) -> bool:
        """Whether a market has no price of its own in this hour, and was not just asked for it."""
        now = self._clock()
        fact = self._known.fact(tenure.partition, slug)
        if fact is None or fact.tried_at < now - now % HOUR:
            return True
        can_answer = fact.market is not None and not fact.market.closed
        return can_answer and not _is_told(fact, now) and now - fact.tried_at >= ASK_AGAIN_MS

    def is_old(self, tenure: Tenure, slug: str) -> bool:
        """Whether an open market was not looked up since the last half hour."""
        half = (self._clock() - DESCRIBED_AT_MS) // HOUR * HOUR + DESCRIBED_AT_MS
        fact = self._fact(tenure, slug)
        is_open = fact.market is not None and not fact.market.closed
        return is_open and fact.described_at < half

    async def describe(self, tenure: Tenure, slugs: Sequence[str]) -> None:
        """Look markets up again. Not at the same time as ``poll``: both rewrite what is known."""
        if not tenure.is_held():
            return
        facts = {slug: self._fact(tenure, slug) for slug in slugs}
        found = await self._look_up_all(facts)
        await self._outlet.flush()
        if tenure.is_held():
            for slug, fact in found.items():
                self._known.put(tenure.partition, slug, fact=fact)

    async def poll(self, tenure: Tenure, slugs: Sequence[str]) -> None:
        """Publish the prices of this hour; markets that are new are looked up first."""
        if not tenure.is_held():
            return
        now = self._clock()
        hour = now - now % HOUR
        asked = {slug: self._fact(tenure, slug) for slug in slugs}
        asked |= await self._look_up_all(
            {slug: fact for slug, fact in asked.items() if fact.market is None}
        )
        tokens = [
            token
            for fact in asked.values()
            if fact.market is not None and not fact.market.closed
            for token in fact.market.token_ids
        ]
        prices, failures = await self._api.prices(tokens, self._settings.price_kind)
        for failure in failures:
            logger.warning("prices: %s", failure)
            await self._refuse(self._settings.clob_url, failure)
        fetched_at = self._clock()
        if fetched_at >= hour + HOUR:
            return  # answers of another hour; the next look asks for that one
        told = {
            slug: await self._tell(slug, fact, prices, hour, fetched_at)
            for slug, fact in asked.items()
        }
        await self._outlet.flush()
        for slug in told if tenure.is_held() else ():
            await send_poll(
                self._outlet,
                "prices",
                slug,
                polled_at=now,
                answered_at=hour,
                waiting_since=hour,
            )
        # Told first: killed in between, the hour is asked for and told again.
        if tenure.is_held():
            for slug, fact in told.items():
                after = msgspec.structs.replace(fact, tried_at=now)
                self._known.put(tenure.partition, slug, fact=after)

    def _fact(self, tenure: Tenure, slug: str) -> MarketFact:
        return self._known.fact(tenure.partition, slug) or MarketFact()

    async def _look_up_all(self, facts: Mapping[str, MarketFact]) -> dict[str, MarketFact]:
        found = await asyncio.gather(*(self._look_up(slug, facts[slug]) for slug in facts))
        return dict(zip(facts, found, strict=True))

    async def _look_up(self, slug: str, fact: MarketFact) -> MarketFact:
        now = self._clock()
        try:
            market = await self._api.market(slug)
        except FetchError as exc:
            logger.warning("market %s: %s", slug, exc)
            await self._refuse(slug, exc)
            return msgspec.structs.replace(fact, described_at=now)
        if market != fact.market:
            await self._announce(slug, market, now)
        return msgspec.structs.replace(fact, market=market, described_at=now)

    async def _announce(self, slug: str, market: PolymarketMarket, now: int) -> None:
        if market.closed:
            logger.warning("market %s is closed; its price is no longer asked for", slug)
        meta = MarketMeta(
            **{**msgspec.structs.asdict(market), "market_slug": slug}, fetched_at=format_ms(now)
        )
        await self._outlet.publish(MARKET_META, msgspec.json.encode(meta), key=slug.encode())

    async def _tell(
        self, slug: str, fact: MarketFact, prices: dict[str, float], hour: int, fetched_at: int
    ) -> MarketFact:
        if fact.market is None or fact.market.closed:
            return fact
        known = dict(fact.prices)
        for outcome, token in fact.market.tokens.items():
            records, after = prices_of_hour(
                slug,
                outcome,
                known.get(outcome),
                prices.get(token),
                hour=hour,
                fetched_at=fetched_at,
            )
            if token not in prices:
                logger.warning("market %s: no price for %s", slug, outcome)
            if after is not None:
                known[outcome] = after
            for record in records:
                await send_price(self._outlet, record)
        return msgspec.structs.replace(fact, prices=known)

    async def _refuse(self, source: str, failure: FetchError) -> None:
        body = failure.body if isinstance(failure, FetchFailed) else b""
        await send_refusal(self._outlet, PRICE_HOURLY, source, str(failure), body)


def _is_told(fact: MarketFact, now: int) -> bool:
    """Whether each outcome has a price of this hour that was answered."""
    hour = now - now % HOUR
    return fact.market is not None and all(
        outcome in fact.prices and fact.prices[outcome].fresh_hour >= hour
        for outcome in fact.market.tokens
    )


async def send_price(outlet: Outlet, price: Price) -> None:
    key = f"{price.market_slug}|{price.outcome}"
    await outlet.publish(PRICE_HOURLY, msgspec.json.encode(price), key=key.encode())
