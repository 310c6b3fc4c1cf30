"""Sends what is due to each channel. One that fails or hangs holds back nobody but itself."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any

import asyncpg
from aiokafka.errors import KafkaError

from marketlag import metrics
from marketlag.errors import MarketLagError, SettingsError
from marketlag.flags import Row
from marketlag.notify.articles import articles_behind
from marketlag.notify.channels import Channel
from marketlag.notify.message import Behind, Message, message_of
from marketlag.notify.outbox import Outbox
from marketlag.postgres import connected
from marketlag.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

#: How often a channel looks what is due (s).
LOOK_SECONDS = 5.0
#: A message and the articles in it have so long (s).
SEND_SECONDS = 30.0
ARTICLES_SECONDS = 20.0

Send = Callable[[Message], Coroutine[Any, Any, bool]]
FindArticles = Callable[[Row], Awaitable[list[Behind] | None]]


def sender(channel: Channel) -> Send:
    """What delivers to *channel*. Raises ``SettingsError`` for a URL that Apprise cannot read."""
    import apprise  # a hundred modules, wanted by nobody who tells nobody

    service = apprise.Apprise()
    silent = logging.getLogger("apprise")
    level = silent.level
    # It would say the URL, with the token in it.
    silent.setLevel(logging.CRITICAL)
    try:
        known = service.add(channel.url.get_secret_value())
    finally:
        silent.setLevel(level)
    if not known:
        raise SettingsError(f"{PREFIX}NOTIFY: channel {channel.name!r}: Apprise knows no such url")

    async def send(message: Message) -> bool:
        done = await service.async_notify(
            title=message.title, body=message.body, body_format=apprise.NotifyFormat.TEXT
        )
        return bool(done)

    return send


def articles_finder(settings: Settings) -> FindArticles:
    """Finds articles beside the event loop: a busy hour has a hundred thousand of them."""

    def find(row: Row) -> list[Behind]:
        reading = articles_behind(settings, row["market"], row["window"], row["detected_at"])
        return asyncio.run(asyncio.wait_for(reading, ARTICLES_SECONDS))

    async def find_beside(row: Row) -> list[Behind] | None:
        try:
            return await asyncio.to_thread(find, row)
        except (MarketLagError, KafkaError, TimeoutError) as exc:
            logger.warning("the articles behind %s cannot be read: %r", row["market"], exc)
            return None

    return find_beside


class Notifier:
    """One channel's.

    Args:
        questions: of the markets, by slug.
    """

    def __init__(
        self,
        channel: Channel,
        settings: Settings,
        questions: Mapping[str, str],
        *,
        send: Send,
        articles: FindArticles,
    ) -> None:
        self._channel = channel
        self._dsn = settings.postgres_dsn.get_secret_value()
        self._outbox = Outbox(channel, settings)
        self._questions = questions
        self._send, self._articles = send, articles
        self._is_away = False

    async def run(self, should_stop: Callable[[], bool]) -> None:
        """Tell what is due, until told to stop. Postgres may be away."""
        while not should_stop():
            try:
                async with connected(self._dsn) as connection:
                    self._is_away = False
                    while not should_stop():
                        if not await self.tell_due(connection):
                            await asyncio.sleep(LOOK_SECONDS)
            except (MarketLagError, OSError, TimeoutError, asyncpg.PostgresError) as exc:
                if not self._is_away:
                    logger.warning("channel %s waits: %s", self._channel.name, exc)
                self._is_away = True
                await asyncio.sleep(LOOK_SECONDS)

    async def tell_due(self, connection: asyncpg.Connection) -> int:
        """Tell what is due at the moment; returns how many hours that were."""
        claims = await self._outbox.claim(connection)
        for claim in claims:
            row = await self._outbox.row(connection, claim)
            if row is None:
                # Corrected since. Should it be flagged again, it is due again.
                await self._outbox.failed(connection, claim)
                continue
            delivered = await self._tell(row)
            outcome = "sent" if delivered else "failed"
            metrics.NOTIFICATIONS.labels(self._channel.name, outcome).inc()
            if delivered:
                await self._outbox.sent(connection, claim)
            else:
                logger.warning("channel %s did not take a message", self._channel.name)
                await self._outbox.failed(connection, claim)
        return len(claims)

    async def _tell(self, row: Row) -> bool:
        message = message_of(row, self._questions.get(row["market"], ""), await self._articles(row))
        try:
            async with asyncio.timeout(SEND_SECONDS):
                return await self._send(message)
        except TimeoutError:
            return False
        except Exception:  # a plugin's bug is a channel that fails
            logger.exception("channel %s failed", self._channel.name)
            return False


def make_notifiers(
    channels: Sequence[Channel], settings: Settings, questions: Mapping[str, str]
) -> list[Notifier]:
    """One a channel. Raises ``SettingsError``."""
    articles = articles_finder(settings)
    return [
        Notifier(channel, settings, questions, send=sender(channel), articles=articles)
        for channel in channels
    ]
