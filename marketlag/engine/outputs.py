"""Where records go that no job can use: the DLQ with its reason, and ``rss.late``.

Both carry the record's coordinates in headers. A crash may write one twice; its coordinates make
it one.
"""

import logging
from collections.abc import Iterable

from marketlag import metrics
from marketlag.engine.chunk import Chunk, where
from marketlag.engine.producer import Producer
from marketlag.records import LogRecord, Refused
from marketlag.topics import DLQ_MAX_BYTES, RSS_LATE, dlq

logger = logging.getLogger(__name__)

#: Reasons are for people; a decoder's message can quote its input.
MAX_REASON_CHARS = 500


def coordinates(chunk: Chunk, record: LogRecord) -> list[tuple[str, bytes]]:
    """Headers that name a record: topic, partition, offset."""
    return [
        ("topic", chunk.topic.encode()),
        ("partition", str(chunk.partition).encode()),
        ("offset", str(record.offset).encode()),
    ]


async def send_refused(sender: Producer, chunk: Chunk, refused: Iterable[Refused]) -> None:
    """Send records to the DLQ of their topic: bytes untouched, unless they are too large for it."""
    for item in refused:
        record = item.record
        headers = [
            ("error", item.reason[:MAX_REASON_CHARS].encode()),
            *coordinates(chunk, record),
        ]
        value = record.value
        if value is not None and len(value) > DLQ_MAX_BYTES:
            headers.append(("truncated-from", str(len(value)).encode()))
            value = value[:DLQ_MAX_BYTES]
        logger.info("refused: %s", item.reason, extra=where(chunk, record.offset))
        await sender.publish(
            dlq(chunk.topic),
            # aiokafka sends no record without key and value; both were empty then.
            b"" if value is None and record.key is None else value,
            key=record.key,
            partition=chunk.partition,
            timestamp_ms=record.timestamp,
            headers=headers,
        )
        metrics.RECORDS_REFUSED.labels(chunk.topic, item.kind).inc()


async def send_late(sender: Producer, chunk: Chunk, late: Iterable[LogRecord]) -> None:
    """Send articles whose window had closed to ``rss.late``."""
    for record in late:
        await sender.publish(
            RSS_LATE,
            record.value,
            key=record.key,
            partition=chunk.partition,
            timestamp_ms=record.timestamp,
            headers=coordinates(chunk, record),
        )
