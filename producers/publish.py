"""What both producers publish beside their own records: refusals, polls, health."""

import logging
from collections import Counter, deque
from collections.abc import Iterator
from typing import Literal

import asyncpg
import msgspec

from marketlag import metrics
from marketlag.event_time import format_ms
from marketlag.records import Poll
from marketlag.topics import POLLS, dlq
from producers.fetch import without_user
from producers.state import Clock, Outlet

logger = logging.getLogger(__name__)

Kind = Literal["rss", "prices"]
Status = Literal["ok", "not_modified", "failed"]
#: Polymarket's two; their URLs hold tokens and slugs.
Api = Literal["gamma", "clob"]

MAX_REASON_CHARS = 500
#: While Postgres is away; about a day of a hundred feeds.
MAX_WAITING_ROWS = 10_000
DATABASE_TIMEOUT = 10.0


async def send_poll(
    outlet: Outlet,
    kind: Kind,
    source: str,
    *,
    polled_at: int,
    answered_at: int | None,
    waiting_since: int,
) -> None:
    """Tell the owner of the heartbeats (times in ms). All polls meet in one partition."""
    answered = None if answered_at is None else format_ms(answered_at)
    value = Poll(kind, source, format_ms(polled_at), answered, format_ms(waiting_since))
    await outlet.publish(POLLS, msgspec.json.encode(value), key=source.encode(), partition=0)


async def send_refusal(outlet: Outlet, topic: str, source: str, reason: str, body: bytes) -> None:
    """To the DLQ of *topic*: something of *source* that became no record."""
    source = without_user(source)
    headers = [("error", reason[:MAX_REASON_CHARS].encode()), ("source", source.encode())]
    await outlet.publish(dlq(topic), body, key=source.encode(), headers=headers)
    metrics.RECORDS_REFUSED.labels(topic, "source").inc()


def storable(text: str) -> str:
    """What a ``text`` of Postgres can hold, and a reader wants to read."""
    text = text.replace("\0", " ").encode("utf-8", "replace").decode()
    return text[:MAX_REASON_CHARS]


class HealthLog:
    """``api_health_log``: one row per fetch. A database that is away holds no poll back."""

    def __init__(self, dsn: str, clock: Clock) -> None:
        self._dsn = dsn
        self._clock = clock
        self._waiting: deque[tuple[str, str, int, str | None, float]] = deque(
            maxlen=MAX_WAITING_ROWS
        )
        self._is_away = False
        self._failures: Counter[str] = Counter()

    def failures_in_a_row(self) -> Iterator[metrics.Sample]:
        """By source: fetches that failed since one last did not."""
        for source, count in list(self._failures.items()):
            yield [source], count

    def forget_failures(self) -> None:
        """Count anew: what this process polls has changed."""
        self._failures.clear()

    def add(
        self,
        source: str,
        status: Status,
        milliseconds: int,
        error: str | None = None,
        *,
        api: Api | None = None,
    ) -> None:
        """Note a fetch of a feed, or of an *api*: *source* is its URL."""
        name = api or without_user(source)
        self._failures[name] = self._failures[name] + 1 if status == "failed" else 0
        metrics.FETCHES.labels(name, status).inc()
        metrics.FETCH_SECONDS.labels(api or "feed").observe(milliseconds / 1_000)
        reason = None if error is None else storable(error)
        row = storable(without_user(source)), status, milliseconds, reason, self._clock() / 1_000
        self._waiting.append(row)

    async def write(self) -> None:
        """Write what waits. What cannot be written waits on, the oldest rows dropping out."""
        rows, self._waiting = self._waiting, deque(maxlen=MAX_WAITING_ROWS)
        if not rows:
            return
        try:
            connection = await asyncpg.connect(
                self._dsn, timeout=DATABASE_TIMEOUT, statement_cache_size=0
            )
            try:
                async with connection.transaction():  # for a pooler, as in ``marketlag.postgres``
                    await connection.executemany(
                        "INSERT INTO api_health_log (source, status, response_time_ms,"
                        " error_message, logged_at) VALUES ($1, $2, $3, $4, to_timestamp($5))",
                        rows,
                        timeout=DATABASE_TIMEOUT,
                    )
            finally:
                await connection.close()
        except asyncpg.DataError as exc:
            logger.warning("%s health rows are dropped, Postgres refuses one: %s", len(rows), exc)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            if not self._is_away:
                logger.warning("health rows wait for Postgres: %s", type(exc).__name__)
            self._is_away = True
            rows.extend(self._waiting)
            self._waiting = rows
        else:
            self._is_away = False
