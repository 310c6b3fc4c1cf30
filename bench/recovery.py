"""Seconds from SIGKILL to the first new row, with little and much state.

With the local RocksDB kept, and deleted. The session timeout is part of it: Kafka waits that long
for the worker that was killed.

    python -m bench.recovery [--windows 1000 100000] [--session 6s]
"""

import argparse
import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg

from bench.pipeline import Services, article, fill, heartbeats, hour, services, wait_finished
from bench.pipeline import wait_ready as ready

PARTITIONS = 6
#: Hours of state; markets make up the number of windows.
HOURS = 100
COMPACTION_SECONDS = 8


def state(windows: int) -> Iterator[dict[str, Any]]:
    """One article for each window of (market, hour), and the heartbeats that close them all."""
    rng = random.Random(1)  # noqa: S311 - a workload, not a secret
    markets = [f"market-{number}" for number in range(windows // HOURS)]
    for number in range(HOURS):
        yield from (article(market, hour(number), rng) for market in markets)
    yield from heartbeats(PARTITIONS, hour(HOURS + 1))


async def newest_window(dsn: str) -> float:
    """The newest window in Postgres, as a Unix time."""
    connection = await asyncpg.connect(dsn)
    try:
        newest = await connection.fetchval('SELECT max("window") FROM lag_signals_history')
        return float(newest.timestamp())
    finally:
        await connection.close()


def recover(running: Services, next_hour: int, *, with_local: bool) -> float:
    """Kill, start again, and wait for the row of an hour that closes meanwhile (s)."""
    dsn = running.settings.postgres_dsn.get_secret_value()
    worker = running.worker("worker")
    ready(worker)
    worker.check()
    before = asyncio.run(newest_window(dsn))
    worker.kill()
    killed = time.monotonic()
    if not with_local:
        shutil.rmtree(running.folder / "worker" / "state")
    worker.log.unlink()
    with running.worker("worker"):
        rng = random.Random(next_hour)  # noqa: S311
        news = [article(f"market-{number}", hour(next_hour), rng) for number in range(10)]
        running.client.send([*news, *heartbeats(PARTITIONS, hour(next_hour + 2))])
        while asyncio.run(newest_window(dsn)) <= before:
            time.sleep(0.05)
        seconds = time.monotonic() - killed
        wait_finished(running)
    (running.folder / "worker" / "worker.log").unlink()
    return seconds


def changelogs(running: Services) -> tuple[int, int]:
    """Records that were ever written to the changelogs, and bytes that are left of them."""
    (node,) = running.kafka.nodes
    parts = list((node.folder / "data").glob("*-changelog-*/*.log"))
    names = sorted({path.parent.name.rpartition("-")[0] for path in parts})
    written = sum(running.client.ends(names, PARTITIONS).values())
    return written, sum(path.stat().st_size for path in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--windows", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--session", default="6s")
    options = parser.parse_args()
    print(f"{'windows':>8}  {'with RocksDB':>12}  {'without':>8}  {'changelog':>22}")
    for windows in options.windows:
        with (
            tempfile.TemporaryDirectory() as name,
            services(
                Path(name),
                partitions=PARTITIONS,
                session_timeout=options.session,
                startup_delay="100ms",
                sink_max_wait="200ms",
            ) as running,
        ):
            with running.worker("worker") as worker:
                ready(worker)
                fill(running.client, state(windows))
                wait_finished(running)
            worker.log.unlink()
            kept = recover(running, HOURS + 1, with_local=True)
            deleted = recover(running, HOURS + 4, with_local=False)
            time.sleep(COMPACTION_SECONDS)
            written, left = changelogs(running)
        print(
            f"{windows:8,}  {kept:10.1f} s  {deleted:6.1f} s  "
            f"{written:,} records written, {left / 2**20:.1f} MB kept",
            flush=True,
        )


if __name__ == "__main__":
    main()
