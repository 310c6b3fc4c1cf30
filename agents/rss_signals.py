"""JOB 1: articles to hourly signals.

``rss.events`` -> ``rss.signals_hourly``; what cannot be used -> ``dlq.rss.events``; what came after
its window had closed -> ``rss.late``. The rules are ``marketlag.rules.signals``.
"""

import time
from collections.abc import Iterator

import msgspec
from faust.types import StreamT

from marketlag import metrics
from marketlag.application import app, settings
from marketlag.engine.chunk import Chunk, PerPartition
from marketlag.engine.outputs import send_late, send_refused
from marketlag.event_time import BEGINNING
from marketlag.rules.signals import RecoveryPoint, SignalOutputs, SignalState, fold
from marketlag.settings import milliseconds
from marketlag.topics import RSS_EVENTS, RSS_LATE, RSS_SIGNALS, dlq


def open_windows(chunk: Chunk) -> SignalState:
    """The windows as the recovery point has them: none yet, the log brings them back."""
    return SignalState(
        size=milliseconds(settings.window),
        delay=milliseconds(settings.watermark_delay),
        lateness=milliseconds(settings.allowed_lateness),
        point=RecoveryPoint.parse(chunk.lease.metadata),
        truncated=chunk.lease.truncated,
    )


partitions = PerPartition(open_windows)


@app.job("rss_signals", reads=[RSS_EVENTS], writes=[RSS_SIGNALS, RSS_LATE, dlq(RSS_EVENTS)])
async def rss_signals(chunks: StreamT[Chunk]) -> None:
    """Fold articles into windows; send what closed; declare the recovery point."""
    async for chunk in chunks:
        with chunk:
            state = partitions[chunk]
            if chunk.after_gap:
                state.cut()
            before = state.watermark
            out = fold(state, chunk.records)
            measure(state, before, out)
            for closed in out.signals:
                await app.sender.publish(
                    RSS_SIGNALS,
                    msgspec.json.encode(closed.signal),
                    key=closed.signal.market_slug.encode(),
                    timestamp_ms=closed.timestamp,
                )
            await send_refused(app.sender, chunk, out.refused)
            await send_late(app.sender, chunk, out.late)
            offset, point = state.recovery_point(chunk.end)
            chunk.lease.advance(offset, point.metadata(), done=chunk.end)


def measure(state: SignalState, before: int, out: SignalOutputs) -> None:
    """Count what a chunk gave; *before* is the watermark before it (ms)."""
    metrics.RECORDS_LATE.labels("rss_signals").inc(len(out.late))
    metrics.DUPLICATES_FENCED.labels("article").inc(out.duplicates)
    if state.watermark > before:
        newest = (state.watermark + state.delay) / 1_000
        metrics.ARTICLE_DELAY.observe(max(0.0, time.time() - newest))


@metrics.WATERMARK.source
def watermarks() -> Iterator[metrics.Sample]:
    for partition, state in partitions.held(app.reader.positions.term):
        if state.watermark != BEGINNING:
            yield (RSS_EVENTS, partition), state.watermark / 1_000


@metrics.WATERMARK_DISTANCE.source
def distances() -> Iterator[metrics.Sample]:
    for labels, watermark in watermarks():
        yield labels, time.time() - watermark


@metrics.WINDOWS_OPEN.source
def open_windows_count() -> Iterator[metrics.Sample]:
    for partition, state in partitions.held(app.reader.positions.term):
        yield [partition], sum(len(window.aggregates) for window in list(state.windows.values()))
