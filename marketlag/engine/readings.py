"""What Prometheus asks of the engine: leases, consumer lag, commits, what was sent.

Read in the thread of the web server while the event loop works on; every reading takes a copy.
"""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from aiokafka import TopicPartition

from marketlag import metrics
from marketlag.engine.positions import Lease


class Readings:
    """Of one app; ``register`` before the web server starts."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def register(self) -> None:
        metrics.PARTITIONS.source(self._partitions)
        metrics.LAG_RECORDS.source(self._lag_records)
        metrics.LAG_SECONDS.source(self._lag_seconds)
        metrics.COMMIT_AGE.source(self._commit_age)
        metrics.RECORDS_SENT.source(self._sent)

    def _leases(self) -> list[Lease]:
        return self._app.reader.positions.leases if self._app.has_reader else []

    def _partitions(self) -> Iterator[metrics.Sample]:
        for topic, count in Counter(lease.tp.topic for lease in self._leases()).items():
            yield [topic], count

    def _lag_records(self) -> Iterator[metrics.Sample]:
        for lease in self._leases():
            # Kafka tells it with each fetch.
            end = self._app.reader.highwater_of(TopicPartition(*lease.tp))
            if end is not None:
                yield lease.tp, max(0, end - lease.done)

    def _lag_seconds(self) -> Iterator[metrics.Sample]:
        now = time.time()
        for lease in self._leases():
            oldest = next(iter(list(lease.open_chunks)), None)
            yield lease.tp, 0.0 if oldest is None else max(0.0, now - oldest[1] / 1_000)

    def _commit_age(self) -> Iterator[metrics.Sample]:
        if self._app.has_reader:
            since = self._app.reader.uncommitted_since
            yield [], 0.0 if since is None else time.monotonic() - since

    def _sent(self) -> Iterator[metrics.Sample]:
        if self._app.has_sender:
            yield from list(self._app.sender.sent.items())
