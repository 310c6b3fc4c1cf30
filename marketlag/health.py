"""Whether a worker works: what ``/readyz`` and ``/healthz`` say, and the end of a stuck one.

Two threads have an event loop, the agents' and the one that talks to Kafka. Both have to turn. One
that does not is *blocked* and makes the worker unready; after ``MARKETLAG_STUCK_AFTER`` the process
ends, so that somebody else gets its partitions and a supervisor starts it anew.
"""

import asyncio
import faulthandler
import logging
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import asyncpg
from mode import Service

from marketlag import metrics
from marketlag.settings import Settings
from marketlag.topics import RSS_EVENTS

LOOK_SECONDS = 1.0
#: A loop that has not turned for so long is blocked (s). A chunk takes milliseconds.
BLOCKED_AFTER = 5.0
#: Postgres is asked so often, and has so long to answer (s).
PING_SECONDS = 5.0
PING_TIMEOUT = 5.0


class WatermarkWatch:
    """How long ago each partition's watermark should have moved.

    Args:
        expected_every: s. Every poll of the feeds brings heartbeats, and they move it.
    """

    def __init__(self, expected_every: float) -> None:
        self._expected_every = expected_every
        self._seen: dict[int, tuple[float | None, float]] = {}

    def look(self, now: float, partitions: Iterable[int], watermarks: Mapping[int, float]) -> None:
        """See the *partitions* held, and the watermarks of those that have one.

        *now* is of a clock that only goes forward (s).
        """
        seen = {}
        for partition in partitions:
            watermark = watermarks.get(partition)
            before = self._seen.get(partition)
            moved = before is None or before[0] != watermark
            seen[partition] = (watermark, now if moved or before is None else before[1])
        self._seen = seen

    def overdue(self, now: float) -> dict[int, float]:
        """By partition; 0 for one that moved in time (s)."""
        seen = self._seen
        return {
            partition: max(0.0, now - since - self._expected_every)
            for partition, (_, since) in seen.items()
        }


class Health(Service):
    """Looks once a second. What it finds is read by the thread of the web server."""

    def __init__(self, app: Any, settings: Settings, **options: Any) -> None:
        super().__init__(**options)
        self._app = app
        self._dsn = settings.postgres_dsn.get_secret_value()
        self._stall = settings.watermark_stall / timedelta(seconds=1)
        self._stuck_after = settings.stuck_after / timedelta(seconds=1)
        self._watch = WatermarkWatch(settings.rss_poll / timedelta(seconds=1))
        self._turned = self._kafka_turned = time.monotonic()
        self._postgres: str | None = "not asked yet"
        self._connection: asyncpg.Connection | None = None
        metrics.READY.source(self._ready)
        metrics.WATERMARK_OVERDUE.source(self._overdue)

    # --- what it says

    def sick(self) -> list[str]:
        """Why the process should be started anew."""
        return list(self._blocked(self._stuck_after / 2))

    def unready(self) -> list[str]:
        """Why the worker does not do its work at the moment."""
        return [*self._blocked(BLOCKED_AFTER), *self._kafka(), *self._database(), *self._stalled()]

    def _blocked(self, limit: float) -> Iterator[str]:
        now = time.monotonic()
        for name, turned in (("agents", self._turned), ("Kafka client", self._kafka_turned)):
            if now - turned > limit:
                yield f"the event loop of the {name} has not turned for {now - turned:.0f} s"

    def _kafka(self) -> Iterator[str]:
        if not self._app.membership.is_valid:
            yield "Kafka has not been heard for a whole session"
        elif self._app.rebalancing or not self._app.has_reader:
            yield "partitions are being assigned"
        # Without any partition, since there are more workers, it is ready to take one over.
        elif self._app.reader.positions.generation < 0 and not self._app.unassigned:
            yield "partitions are not assigned yet, or tables are being restored"

    def _database(self) -> Iterator[str]:
        if self._postgres is not None:
            yield f"Postgres: {self._postgres}"

    def _stalled(self) -> Iterator[str]:
        for partition, seconds in sorted(self._watch.overdue(time.monotonic()).items()):
            if seconds > self._stall:
                yield (
                    f"the watermark of {RSS_EVENTS} partition {partition} should have moved "
                    f"{seconds:.0f} s ago"
                )

    def _ready(self) -> Iterator[metrics.Sample]:
        yield [], not self.unready()

    def _overdue(self) -> Iterator[metrics.Sample]:
        for partition, seconds in self._watch.overdue(time.monotonic()).items():
            yield [partition], seconds

    # --- what it looks at

    @Service.task
    async def _look(self) -> None:
        try:
            while not self.should_stop:
                self._turned = time.monotonic()
                # A thread in C that waits for no lock of Python's: it ends the process even when
                # an extension never gives the interpreter back, and prints where it was.
                faulthandler.dump_traceback_later(
                    self._stuck_after, exit=True, file=sys.__stderr__ or sys.stderr
                )
                self._look_at_kafka()
                self._look_at_watermarks()
                if self._turned - self._kafka_turned > self._stuck_after:
                    self._end("the Kafka client does not answer any more")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            faulthandler.cancel_dump_traceback_later()

    def _end(self, why: str) -> None:
        """At once: without the Kafka client nothing that is left could be sent or committed."""
        self.log.error("%s", why)
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
        logging.shutdown()
        os._exit(1)

    def _look_at_kafka(self) -> None:
        loop = self._app.reader.thread_loop if self._app.has_reader else None
        if loop is None:
            self._kafka_turned = time.monotonic()
        else:
            loop.call_soon_threadsafe(self._note_kafka)

    def _note_kafka(self) -> None:
        self._kafka_turned = time.monotonic()

    def _look_at_watermarks(self) -> None:
        held = self._app.reader.positions.held(RSS_EVENTS) if self._app.has_reader else []
        watermarks = {
            int(partition): value
            for (topic, partition), value in metrics.WATERMARK.samples()
            if topic == RSS_EVENTS
        }
        partitions = [int(lease.tp.partition) for lease in held]
        self._watch.look(time.monotonic(), partitions, watermarks)

    @Service.task
    async def _ping(self) -> None:
        try:
            while not self.should_stop:
                self._postgres = await self._ask_postgres()
                await asyncio.sleep(PING_SECONDS)
        finally:
            self._hang_up()

    async def _ask_postgres(self) -> str | None:
        """Why Postgres is not to be reached: the kind of error alone, for anybody to read."""
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                if self._connection is None:
                    self._connection = await asyncpg.connect(self._dsn, statement_cache_size=0)
                await self._connection.execute("SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            self._hang_up()
            return f"{type(exc).__name__}, asked every {PING_SECONDS:g} s"
        return None

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
