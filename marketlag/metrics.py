"""Every metric, by Prometheus's conventions. ``docs/operations.md`` lists them; a test compares.

What happens is counted where it happens, once a chunk, a batch or a fetch and never once a record.
What *is* (a watermark, a lag, what waits) is read when Prometheus asks, from whoever holds it: see
``Reading``. No label takes a value that is not in the settings, ``markets.toml`` or this program.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from marketlag import __version__
from marketlag.records import Reason
from marketlag.topics import REFUSING

logger = logging.getLogger(__name__)

disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)

#: The values of the labels of one sample, and its value.
Sample = tuple[Sequence[str | int], float]
Source = TypeVar("Source", bound=Callable[[], Iterable[Sample]])
Family = GaugeMetricFamily | CounterMetricFamily

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_MINUTES = (0.1, 1, 10, 30, 60, 120, 300, 600, 1_200, 3_600, 7_200, 21_600, 86_400)
_RECORDS = (1, 5, 10, 50, 100, 500, 1_000, 2_000, 4_000, 8_000, 16_000)


class Reading(Collector):
    """A gauge (or counter) that is read when Prometheus asks, in the thread of the web server.

    Its samples are those of the moment: a partition that is given away is gone with the next
    reading, where a gauge that is set would keep the last value for ever.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        kind: type[Family] = GaugeMetricFamily,
    ) -> None:
        self.name, self.documentation, self.labels = name, documentation, tuple(labels)
        self._kind = kind
        self._sources: list[Callable[[], Iterable[Sample]]] = []
        REGISTRY.register(self)

    def source(self, read: Source) -> Source:
        """Decorates what gives the samples. It runs beside the event loop and changes nothing."""
        self._sources.append(read)
        return read

    def describe(self) -> Iterable[Family]:
        return [self._kind(self.name, self.documentation, labels=self.labels)]

    def samples(self) -> Iterator[tuple[tuple[str, ...], float]]:
        """What all sources say at the moment."""
        for read in self._sources:
            try:
                for labels, value in read():
                    yield tuple(str(label) for label in labels), value
            except Exception:
                # One reading that fails must not take the others away at the worst moment.
                logger.exception("%s cannot be read", self.name)

    def collect(self) -> Iterable[Family]:
        (family,) = self.describe()
        for labels, value in self.samples():
            family.add_metric(labels, value)
        return [family]


def _counter(
    name: str, documentation: str, labels: Sequence[str] = (), *known: Sequence[str]
) -> Counter:
    """A counter; *known* labels are there from the start, so that their first event is a rise."""
    counter = Counter(name, documentation, labels, registry=REGISTRY)
    for values in known:
        counter.labels(*values)
    return counter


def _histogram(
    name: str, documentation: str, labels: Sequence[str] = (), buckets: Sequence[float] = _SECONDS
) -> Histogram:
    return Histogram(name, documentation, labels, buckets=buckets, registry=REGISTRY)


Info("marketlag_build", "The version that runs.", registry=REGISTRY).info({"version": __version__})

# --- agents

RECORDS_RECEIVED = _counter(
    "marketlag_records_received_total",
    "Records that an agent has worked through.",
    ["agent", "topic"],
)
RECORDS_SENT = Reading(
    "marketlag_records_sent_total",
    "Records handed to Kafka, by the agent (or the producers), changelogs included.",
    ["agent", "topic"],
    CounterMetricFamily,
)
RECORDS_REFUSED = _counter(
    "marketlag_records_refused_total",
    "Records sent to the DLQ of a topic: undecodable, unusable, refused by Postgres, or no answer "
    "of a source.",
    ["topic", "reason"],
    *((topic, reason) for topic in REFUSING for reason in get_args(Reason)),
)
RECORDS_LATE = _counter(
    "marketlag_records_late_total",
    "Records that came after their window had closed, or older than the state kept.",
    ["agent"],
    ["rss_signals"],
    ["lag"],
)
DUPLICATES_FENCED = _counter(
    "marketlag_duplicates_fenced_total",
    "What came twice and counted once: an article within its window, a row that Postgres has, a "
    "chunk that was fetched again.",
    ["kind"],
    ["article"],
    ["row"],
    ["chunk"],
)
CHUNK_RECORDS = _histogram(
    "marketlag_chunk_records", "Records of a chunk.", ["agent"], buckets=_RECORDS
)
CHUNK_SECONDS = _histogram(
    "marketlag_chunk_seconds", "Time in which an agent worked a chunk through.", ["agent"]
)
LAG_ROWS = _counter(
    "marketlag_lag_rows_total",
    "Rows sent to lag_signals, flagged or not; a row that is sent again counts again.",
    ["flagged"],
    ["true"],
    ["false"],
)

# --- event time

WATERMARK = Reading(
    "marketlag_watermark_timestamp_seconds",
    "How far event time has come in a log: the watermark of rss.events, the clock of prices.",
    ["topic", "partition"],
)
WATERMARK_DISTANCE = Reading(
    "marketlag_watermark_distance_seconds",
    "Now less the watermark.",
    ["topic", "partition"],
)
WATERMARK_OVERDUE = Reading(
    "marketlag_watermark_overdue_seconds",
    "How long ago the watermark of rss.events should have moved: since it last did, less the time "
    "between two polls of a feed.",
    ["partition"],
)
WINDOWS_OPEN = Reading(
    "marketlag_windows_open",
    "Windows held by Job 1: one for each market with an article in an hour that is not over.",
    ["partition"],
)
ARTICLE_DELAY = _histogram(
    "marketlag_article_delay_seconds",
    "From published_at of the newest article (or heartbeat) of a chunk to its being counted.",
    buckets=_MINUTES,
)
ROW_DELAY = _histogram(
    "marketlag_row_delay_seconds",
    "Until the slowest lag row of an upsert is in Postgres: since the end of its window, by which "
    "its articles were published, or since the record arrived that completed it.",
    ["since"],
    buckets=_MINUTES,
)

# --- Kafka

PARTITIONS = Reading(
    "marketlag_partitions_assigned", "Partitions that this worker holds.", ["topic"]
)
LAG_RECORDS = Reading(
    "marketlag_consumer_lag_records",
    "Records of a partition that are not worked through. Committed offsets are further back by "
    "design: they say where a restart begins.",
    ["topic", "partition"],
)
LAG_SECONDS = Reading(
    "marketlag_consumer_lag_seconds",
    "Age of the oldest record that was fetched and is not worked through.",
    ["topic", "partition"],
)
FLUSH_SECONDS = _histogram(
    "marketlag_flush_seconds",
    "Time in which Kafka confirmed what had been sent before a commit, changelogs included.",
)
COMMITS = _counter(
    "marketlag_commits_total",
    "Commits: done, fenced (the partitions were given away), or failed.",
    ["outcome"],
    ["done"],
    ["fenced"],
    ["failed"],
)
COMMIT_AGE = Reading(
    "marketlag_commit_age_seconds",
    "How long something has been waiting to be committed; 0 if nothing is.",
)

# --- Postgres

SINK_ROWS = _counter(
    "marketlag_sink_rows_total", "Rows that changed a table of Postgres.", ["table"]
)
SINK_BATCH_ROWS = _histogram(
    "marketlag_sink_batch_rows",
    "Rows of one upsert.",
    ["table"],
    buckets=(1, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 10_000),
)
SINK_SECONDS = _histogram(
    "marketlag_sink_write_seconds", "Time of one upsert, its retries included.", ["table"]
)
SINK_RETRIES = _counter("marketlag_sink_retries_total", "Upserts that were tried again.")
SINK_WAITING = Reading("marketlag_sink_rows_waiting", "Rows that wait for their upsert.", ["table"])

# --- producers

FETCHES = _counter(
    "marketlag_fetches_total",
    "Fetches by source (a feed, gamma or clob): ok, not_modified or failed.",
    ["source", "outcome"],
)
FETCH_SECONDS = _histogram(
    "marketlag_fetch_seconds", "Time of a fetch, its retries included.", ["kind"]
)
FAILURES_IN_A_ROW = Reading(
    "marketlag_fetch_failures_in_a_row",
    "Fetches of a source that failed since one last did not.",
    ["source"],
)
FEED_STALENESS = Reading(
    "marketlag_feed_staleness_seconds",
    "Since a feed last answered; told by the worker that holds producers.polls.",
    ["feed"],
)
SOURCES_IDLE = Reading(
    "marketlag_sources_idle",
    "Feeds, or markets, without an answer for so long that event time goes on without them.",
    ["kind"],
)

# --- the process, and whom it tells

READY = Reading("marketlag_ready", "1 if /readyz says yes, else 0.")
NOTIFICATIONS = _counter(
    "marketlag_notifications_total",
    "Flagged hours told to a channel: sent, or failed and tried again later.",
    ["channel", "outcome"],
)
