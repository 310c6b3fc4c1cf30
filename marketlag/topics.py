"""The topics: names, keys, retention. Created by ``marketlag topics``, never by a first message."""

import msgspec
from aiokafka.partitioner import murmur2

from marketlag.event_time import DAY
from marketlag.settings import Settings

RSS_EVENTS = "rss.events"
RSS_LATE = "rss.late"
RSS_SIGNALS = "rss.signals_hourly"
MARKET_META = "polymarket.market_meta"
PRICE_HOURLY = "polymarket.price_hourly"
PRICE_NORMALIZED = "polymarket.price_normalized"
#: What goes to the table ``price_hourly``. A topic of its own, since a group has one position in a
#: topic: Postgres being away must hold back the sink and not the join.
PRICE_HISTORY = "polymarket.price_history"
LAG_SIGNALS = "lag_signals"
#: What the producers polled, and when each source last answered; all in partition 0.
POLLS = "producers.polls"


def dlq(topic: str) -> str:
    """The dead letter queue of a topic."""
    return f"dlq.{topic}"


def partition_of(key: str, partitions: int) -> int:
    """The partition that Kafka's clients give to a record with this key."""
    return int(murmur2(key.encode()) & 0x7FFFFFFF) % partitions


#: Topics whose records can be refused, and have a DLQ.
REFUSING = (RSS_EVENTS, PRICE_HOURLY, LAG_SIGNALS, PRICE_HISTORY)

#: Names of the tables, for their changelog topics.
TABLES = ("rss_hours", "rss_baseline", "price_hours", "rss_feeds", "rss_seen", "last_prices")

#: A DLQ takes values up to this size; a larger one is cut, and marked.
DLQ_MAX_BYTES = 2 * 1024 * 1024
#: The broker's limit counts key, headers and framing too.
RECORD_OVERHEAD = 64 * 1024


class TopicSpec(msgspec.Struct, frozen=True):
    """A topic as it has to be. ``retention`` in ms; ``None`` is compacted, and kept for good."""

    name: str
    partitions: int
    retention: int | None
    max_message_bytes: int | None = None

    def config(self) -> dict[str, str]:
        # A row's detected_at is the timestamp that was sent along, not when a broker stored it.
        config = {"message.timestamp.type": "CreateTime"}
        if self.retention is None:
            config["cleanup.policy"] = "compact"
        else:
            config |= {"cleanup.policy": "delete", "retention.ms": str(self.retention)}
        if self.max_message_bytes is not None:
            config["max.message.bytes"] = str(self.max_message_bytes)
        return config


def changelog(settings: Settings, table: str) -> str:
    """Faust's name for the changelog topic of a table."""
    return f"{settings.app_id}-{table}-changelog"


def topic_specs(settings: Settings) -> list[TopicSpec]:
    """Every topic that the pipeline needs; all that meet in a join have the same partitions."""
    n = settings.partitions
    dlq_bytes = DLQ_MAX_BYTES + RECORD_OVERHEAD
    return [
        TopicSpec(RSS_EVENTS, n, 7 * DAY),
        TopicSpec(MARKET_META, 1, None),
        TopicSpec(PRICE_HOURLY, n, 7 * DAY),
        TopicSpec(PRICE_NORMALIZED, n, 7 * DAY),
        TopicSpec(PRICE_HISTORY, n, 30 * DAY),
        TopicSpec(RSS_SIGNALS, n, 7 * DAY),
        TopicSpec(LAG_SIGNALS, n, 30 * DAY),
        TopicSpec(POLLS, n, 7 * DAY),
        *(TopicSpec(dlq(topic), n, 30 * DAY, dlq_bytes) for topic in REFUSING),
        TopicSpec(RSS_LATE, n, 30 * DAY),
        *(TopicSpec(changelog(settings, table), n, None) for table in TABLES),
    ]
