"""Milliseconds from the record that closes a window to the lag row, in Kafka and in Postgres.

Real time at 100 articles/s over 50 markets; event time runs faster, so that a window closes every
second. Each market's price is there before its window closes. A row's ``detected_at`` is Kafka's
timestamp of the record that closed its window. It is compared with the moment at which a consumer
has the row from ``lag_signals``, and with the clock of Postgres when the row is committed.

    python -m bench.latency [--seconds 120] [--waits 10s 0ms]
"""

import argparse
import asyncio
import itertools
import json
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from rich.console import Console
from rich.table import Table

from bench.pipeline import article, services, wait_ready
from marketlag import kafka
from marketlag.event_time import HOUR, format_ms, parse_ms
from marketlag.records import LagRow
from marketlag.settings import Settings
from marketlag.topics import LAG_SIGNALS, PRICE_HOURLY

MARKETS = 50
PER_SECOND = 100
#: So much event time passes in a second: one window closes.
PACE = HOUR
PARTITIONS = 6
WARM_UP_SECONDS = 10

#: Notes the clock as the transaction that writes a row ends.
TRIGGER = """
CREATE TABLE arrivals (market text, "window" timestamptz, at timestamptz);
CREATE FUNCTION note_arrival() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO arrivals VALUES (NEW.market, NEW."window", clock_timestamp());
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER note_arrival AFTER INSERT ON lag_signals_history
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_arrival();
"""


class Latencies(NamedTuple):
    """Milliseconds from the closing record."""

    to_kafka: list[float]
    to_postgres: list[float]


def workload(start: int) -> Iterator[list[dict[str, Any]]]:
    """What is sent at each hundredth of a second: an article; on the hour, the hour's prices too.

    *start* (ms) is so far back that event time does not overtake the clock.
    """
    rng = random.Random(1)  # noqa: S311 - a workload, not a secret
    markets = [f"market-{number}" for number in range(MARKETS)]
    for tick in itertools.count():
        published = start + tick * PACE // PER_SECOND
        due = [article(rng.choice(markets), published, rng)]
        if tick % PER_SECOND == 0:
            due += [price(market, published) for market in markets]
        yield due


def price(market: str, hour: int) -> dict[str, Any]:
    value = {
        "market_slug": market,
        "outcome": "YES",
        "price": 0.5,
        "price_delta": 0.01,
        "event_time": format_ms(hour),
    }
    key = f"{market}|YES".encode()
    return {"topic": PRICE_HOURLY, "key": key, "value": json.dumps(value).encode()}


async def drive(settings: Settings, seconds: float) -> list[tuple[str, str, float]]:
    """Send for so long; return (market, window, ms) of each row that came."""
    now = time.time() * 1_000
    start = int(now - (seconds + 24) * PACE) // HOUR * HOUR
    options = kafka.client_options(settings)
    found: dict[tuple[str, str], float] = {}
    decode = msgspec.json.Decoder(LagRow).decode
    async with (
        AIOKafkaProducer(**options) as producer,
        AIOKafkaConsumer(LAG_SIGNALS, **options, auto_offset_reset="latest") as consumer,
    ):
        await consumer.seek_to_end()

        async def listen() -> None:
            async for record in consumer:
                arrived = time.time() * 1_000
                row = decode(record.value or b"")
                closed = parse_ms(row.detected_at)
                if closed - now > WARM_UP_SECONDS * 1_000:
                    found.setdefault((row.market, row.window), arrived - closed)

        listening = asyncio.create_task(listen())
        began = time.monotonic()
        for tick, due in enumerate(workload(start)):
            wait = began + tick / PER_SECOND - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            for record in due:
                await producer.send(**record)
            if tick > seconds * PER_SECOND:
                break
        await asyncio.sleep(3)
        listening.cancel()
    return [(market, window, ms) for (market, window), ms in found.items()]


async def arrivals(dsn: str, rows: list[tuple[str, str, float]], patience: float) -> list[float]:
    """How long after its closing record each of the rows was committed (ms)."""
    connection = await asyncpg.connect(dsn)
    try:
        await asyncio.sleep(patience)
        noted = await connection.fetch(
            """
            SELECT a.market, a."window", 1000 * extract(epoch FROM a.at - h.detected_at) AS ms
            FROM arrivals a JOIN lag_signals_history h USING (market, "window")
            """
        )
    finally:
        await connection.close()
    by_row = {(row[0], int(row[1].timestamp() * 1_000)): float(row[2]) for row in noted}
    return [by_row[market, parse_ms(window)] for market, window, _ in rows]


async def install(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(TRIGGER)
    finally:
        await connection.close()


def measure(seconds: float, wait: str) -> Latencies:
    """One run with a worker of its own."""
    with (
        tempfile.TemporaryDirectory() as name,
        services(
            Path(name), partitions=PARTITIONS, startup_delay="100ms", sink_max_wait=wait
        ) as here,
    ):
        dsn = here.settings.postgres_dsn.get_secret_value()
        asyncio.run(install(dsn))
        with here.worker("worker") as worker:
            wait_ready(worker)
            rows = asyncio.run(drive(here.settings, seconds))
            patience = here.settings.sink_max_wait.total_seconds() + 3
            in_postgres = asyncio.run(arrivals(dsn, rows, patience))
            worker.check()
    return Latencies([ms for _, _, ms in rows], in_postgres)


def quantiles(values: list[float]) -> list[str]:
    cuts = statistics.quantiles(values, n=100)
    return [f"{cuts[49]:.1f}", f"{cuts[98]:.1f}", f"{max(values):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--waits", nargs="+", default=["10s", "0ms"])
    options = parser.parse_args()
    table = Table("SINK_MAX_WAIT", "from the closing record to", "rows", "p50 ms", "p99 ms", "max")
    for wait in options.waits:
        found = measure(options.seconds, wait)
        rows = f"{len(found.to_kafka):,}"
        table.add_row(wait, "lag_signals", rows, *quantiles(found.to_kafka))
        table.add_row(wait, "Postgres", rows, *quantiles(found.to_postgres))
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
