"""A replay: send, pace, wait until every row has arrived, collect."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import asyncpg
import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata

from marketlag import kafka
from marketlag.embedded.broker import SAFE_UNREAD_BYTES
from marketlag.errors import ReplayError
from marketlag.event_time import BEGINNING, format_ms, from_datetime
from marketlag.postgres import connected
from marketlag.records import HEARTBEAT, Heartbeat, LogRecord, PriceClock, Signal
from marketlag.replay.inputs import Outgoing
from marketlag.replay.progress import STAGES, Extent, Progress, UnreadBytes
from marketlag.settings import Settings, milliseconds
from marketlag.topics import (
    LAG_SIGNALS,
    PRICE_HOURLY,
    REFUSING,
    RSS_EVENTS,
    RSS_LATE,
    RSS_SIGNALS,
    dlq,
)
from marketlag.windows import tumbling

COLLECTED = (RSS_SIGNALS, RSS_LATE, *(dlq(topic) for topic in REFUSING))

_POLL_SECONDS = 0.2
#: Records of an inner topic that may wait for the next stage.
_MAX_UNREAD_INNER = 5_000
#: Framing, headers and batching around a value.
_RECORD_OVERHEAD_BYTES = 100

Report = Callable[[str, int, int], None]


class Replay:
    """One replay against a running worker.

    Args:
        check: raises when the worker has died.
        report: told ``(what, done, of)`` while the work goes on.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        check: Callable[[], None] = lambda: None,
        report: Report = lambda _what, _done, _of: None,
        stall_seconds: float = 120.0,
    ) -> None:
        self._settings = settings
        self._check = check
        self._report = report
        self._stall_seconds = stall_seconds
        self._unread: dict[TopicPartition, UnreadBytes] = defaultdict(UnreadBytes)
        #: The newest version of each signal that this replay gave.
        self.signals: dict[tuple[str, str], Signal] = {}
        #: Coordinates (topic, partition, offset) of the records in ``rss.late``, and of those in
        #: the DLQs with their reason. A crash may write a record twice; here it is one.
        self.late: set[tuple[str, int, int]] = set()
        self.refused: dict[tuple[str, int, int], str] = {}

    async def run(
        self, articles: Sequence[Outgoing], prices: Sequence[Outgoing], *, flush: bool
    ) -> None:
        """Send everything and return when the last row is in Postgres. Raises ``ReplayError``."""
        async with (
            kafka.admin(self._settings) as admin,
            kafka.consumer(self._settings) as consumer,
            kafka.producer(self._settings) as producer,
        ):
            self._progress = Progress(self._settings, admin, consumer)
            collecting = asyncio.create_task(self._collect(await self._ends(*COLLECTED)))
            try:
                await self._send(producer, PRICE_HOURLY, prices, "prices")
                await self._send_price_clocks(producer, prices)
                await self._send(producer, RSS_EVENTS, articles, "articles")
                if flush:
                    await self._send_heartbeats(producer, articles)
                await self._wait_until_finished()
                await self._wait_until_collected(await self._ends(*COLLECTED))
            finally:
                collecting.cancel()

    async def _ends(self, *topics: str) -> dict[TopicPartition, int]:
        return {tp: extent.end for tp, extent in (await self._progress.extents(*topics)).items()}

    # --- sending

    async def _send(
        self, producer: AIOKafkaProducer, topic: str, records: Sequence[Outgoing], what: str
    ) -> None:
        sending: list[tuple[asyncio.Future[RecordMetadata], int]] = []
        waiting_bytes = 0
        for sent, record in enumerate(records):
            size = len(record.value) + _RECORD_OVERHEAD_BYTES
            if waiting_bytes and waiting_bytes + size > SAFE_UNREAD_BYTES // 4:
                await self._settle(topic, sending)
                waiting_bytes = 0
                await self._wait_for_room(topic, size)
                self._report(what, sent, len(records))
            future = await producer.send(topic, record.value, key=record.key or b"")
            sending.append((future, size))
            waiting_bytes += size
        await self._settle(topic, sending)
        self._report(what, len(records), len(records))

    async def _settle(
        self, topic: str, sending: list[tuple[asyncio.Future[RecordMetadata], int]]
    ) -> None:
        for future, size in sending:
            sent = await future
            tp = TopicPartition(topic, sent.partition)
            self._unread[tp].sent(sent.offset, size)
        sending.clear()

    async def _wait_for_room(self, topic: str, size: int) -> None:
        """Keep less unread than the embedded broker holds: it drops the oldest without a word."""

        async def has_room() -> tuple[bool, object]:
            extents = await self._progress.extents(topic)
            for tp, extent in extents.items():
                self._refuse_loss(tp, extent)
                self._unread[tp].read_to(extent.done)
            fullest = max(self._unread[tp].total for tp in extents)
            inner = await self._progress.unread(*(t for stage in STAGES[1:] for t in stage))
            fits = fullest == 0 or fullest + size <= SAFE_UNREAD_BYTES
            return fits and inner <= _MAX_UNREAD_INNER, (fullest, inner)

        await self._poll(has_room, f"the worker to read {topic}")

    def _refuse_loss(self, tp: TopicPartition, extent: Extent) -> None:
        if extent.begin > max(extent.done, 0) and extent.end > extent.begin:
            raise ReplayError(
                f"{tp.topic} partition {tp.partition}: the broker dropped offsets {extent.done} to "
                f"{extent.begin - 1} before the worker read them; the result would be incomplete"
            )

    async def _send_heartbeats(
        self, producer: AIOKafkaProducer, articles: Sequence[Outgoing]
    ) -> None:
        """Tell every partition that so much time passed that each window closes."""
        settings = self._settings
        newest = max((a.time for a in articles if a.time is not None), default=BEGINNING)
        if newest == BEGINNING:
            return
        window = milliseconds(settings.window)
        closing = tumbling(newest, window) + window
        closing += milliseconds(settings.watermark_delay + settings.allowed_lateness)
        value = msgspec.json.encode(Heartbeat(HEARTBEAT, format_ms(closing)))
        for partition in range(settings.partitions):
            await producer.send_and_wait(
                RSS_EVENTS,
                value,
                key=HEARTBEAT.encode(),
                partition=partition,
                # It may lie ahead of the clock, and a time ahead of its own record is refused.
                timestamp_ms=max(closing, int(time.time() * 1000)),
            )

    async def _send_price_clocks(
        self, producer: AIOKafkaProducer, prices: Sequence[Outgoing]
    ) -> None:
        """Tell every partition how far the prices are, also those that hold none."""
        newest = max((p.time for p in prices if p.time is not None), default=BEGINNING)
        if newest == BEGINNING:
            return
        value = msgspec.json.encode(PriceClock(HEARTBEAT, format_ms(newest)))
        for partition in range(self._settings.partitions):
            await producer.send_and_wait(
                PRICE_HOURLY, value, key=HEARTBEAT.encode(), partition=partition
            )

    # --- waiting

    async def _wait_until_finished(self) -> None:
        async def finished() -> tuple[bool, object]:
            extents = await self._progress.extents(RSS_EVENTS, PRICE_HOURLY)
            for tp, extent in extents.items():
                self._refuse_loss(tp, extent)
            done = sum(extent.done for extent in extents.values())
            rows = await self._progress.extents(LAG_SIGNALS)
            written = sum(extent.done for extent in rows.values())
            self._report("rows", written, sum(extent.end for extent in rows.values()))
            return await self._progress.is_finished(), (done, written)

        await self._poll(finished, "the rows to arrive in Postgres")

    async def _poll(self, step: Callable[[], Awaitable[tuple[bool, object]]], what: str) -> None:
        """Repeat *step* until it is satisfied; give up when what it sees stops changing."""
        seen: object = None
        changed = time.monotonic()
        while True:
            self._check()
            satisfied, sight = await step()
            if satisfied:
                return
            if sight != seen:
                seen, changed = sight, time.monotonic()
            if time.monotonic() - changed > self._stall_seconds:
                raise ReplayError(f"waited {self._stall_seconds:.0f} s in vain for {what}: {sight}")
            await asyncio.sleep(_POLL_SECONDS)

    # --- collecting

    async def _collect(self, starts: dict[TopicPartition, int]) -> None:
        """Keep what comes out as it comes: the embedded broker would drop old records."""
        self._collected = dict(starts)
        async with kafka.consumer(self._settings) as consumer:
            consumer.assign(list(starts))
            for tp, offset in starts.items():
                consumer.seek(tp, offset)
            while True:
                fetched = await consumer.getmany(timeout_ms=500)
                for tp, records in fetched.items():
                    for record in records:
                        self._keep(tp.topic, record)
                    self._collected[tp] = records[-1].offset + 1

    def _keep(self, topic: str, record: LogRecord) -> None:
        if topic == RSS_SIGNALS:
            self._keep_signal(msgspec.json.decode(record.value or b"", type=Signal))
            return
        headers = {name: value.decode() for name, value in record.headers}
        source = headers["topic"], int(headers["partition"]), int(headers["offset"])
        if topic == RSS_LATE:
            self.late.add(source)
        else:
            self.refused[source] = headers["error"]

    def _keep_signal(self, signal: Signal) -> None:
        key = signal.market_slug, signal.window_start
        held = self.signals.get(key)
        if held is None or signal.mention_count > held.mention_count:
            self.signals[key] = signal

    async def _wait_until_collected(self, ends: dict[TopicPartition, int]) -> None:
        async def collected() -> tuple[bool, object]:
            return all(self._collected[tp] >= end for tp, end in ends.items()), dict(
                self._collected
            )

        await self._poll(collected, "the signals to be read back")


async def rows_of(settings: Settings, signals: Sequence[Signal]) -> list[asyncpg.Record]:
    """The rows of ``lag_signals_history`` for these signals, by market and window."""
    async with connected(settings.postgres_dsn.get_secret_value()) as connection:
        return list(
            await connection.fetch(
                """
                SELECT history.*
                FROM lag_signals_history AS history
                JOIN json_to_recordset($1::json)
                    AS wanted (market_slug text, window_start timestamptz)
                    ON market = market_slug AND "window" = window_start
                ORDER BY market, "window"
                """,
                msgspec.json.encode(signals).decode(),
            )
        )


def lag_lines(rows: Sequence[asyncpg.Record], settings: Settings) -> list[dict[str, object]]:
    """Rows as the golden ``lags.jsonl`` has them."""
    size = milliseconds(settings.window)
    return [
        {
            "market_slug": row["market"],
            "window_start": format_ms(from_datetime(row["window"])),
            "window_end": format_ms(from_datetime(row["window"]) + size),
            "mention_count": row["mention_count"],
            "keyword_score": row["keyword_score"],
            "source_weighted_signal": row["rss_signal"],
            "source_weight_avg": row["source_weight_avg"],
            "price": row["price"],
            "price_delta": row["price_delta"],
            "signal_delta": row["signal_delta"],
            "max_signal_delta": row["max_signal_delta"],
            "lag_flag": row["lag_flag"],
            "confidence": row["confidence"],
        }
        for row in rows
    ]
