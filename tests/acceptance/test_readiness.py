"""A worker that does not do its work says so within a stated time; a stuck one ends.

The times are those of ``docs/operations.md``, "Health".
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from marketlag.health import BLOCKED_AFTER, PING_SECONDS, PING_TIMEOUT
from marketlag.topics import RSS_EVENTS
from tests.support.breakable_worker import BLOCK_AGENTS, BLOCK_KAFKA
from tests.support.busy import HOURS, Busy, busy_worker
from tests.support.logs import article
from tests.support.services import StoppablePostgres, new_database

#: What a look, an answer and a busy machine take (s).
SLACK = 2.0
STALL, STUCK = 3.0, 6.0
WITHIN = {
    "postgres": PING_SECONDS + PING_TIMEOUT + SLACK,
    # A poll of the feeds moves it, once a second here.
    "watermark": 1.0 + STALL + SLACK,
    "blocked": BLOCKED_AFTER + SLACK,
    "stuck": STUCK + SLACK,
}


def reasons(busy: Busy) -> list[str]:
    """Why /readyz says no; nothing if it says yes."""
    answer = busy.get("/readyz")
    found: list[str] = answer.json()["reasons"]
    assert answer.status_code == (503 if found else 200)
    return found


def unready_within(busy: Busy, seconds: float, reason: str) -> None:
    began = time.monotonic()
    busy.wait_for(lambda: any(reason in each for each in reasons(busy)))
    assert time.monotonic() - began < seconds


def ready_within(busy: Busy, seconds: float) -> None:
    began = time.monotonic()
    busy.wait_for(lambda: not reasons(busy))
    assert time.monotonic() - began < seconds


@contextmanager
def blocked(busy: Busy, folder: Path, which: int) -> Iterator[None]:
    """An event loop that does not turn, inside of the block."""
    gate = folder / "block"
    gate.touch()
    try:
        os.kill(busy.worker.process.pid, which)
        yield
    finally:
        gate.unlink()


def test_unready_and_ready_again(tmp_path: Path) -> None:
    """Postgres away, a watermark that stands still, either event loop blocked."""
    with StoppablePostgres() as server:
        dsn = new_database(server.dsn, "readiness")
        with busy_worker(dsn, tmp_path, watermark_stall=f"{STALL:g}s") as busy:
            ready_within(busy, 30)
            server.pause()
            unready_within(busy, WITHIN["postgres"], "Postgres: ")
            server.resume()
            ready_within(busy, WITHIN["postgres"])

            for which, name in ((BLOCK_AGENTS, "agents"), (BLOCK_KAFKA, "Kafka client")):
                with blocked(busy, tmp_path, which):
                    unready_within(busy, WITHIN["blocked"], f"the event loop of the {name}")
                    assert busy.get("/healthz").status_code == 200
                ready_within(busy, SLACK)

            # From here on the heartbeats, of two days ago, move it no more.
            busy.send_articles()
            unready_within(busy, WITHIN["watermark"] + SLACK, "the watermark of rss.events")
            for market in ("fed", "cpi", "gdp", "a", "b", "c", "d"):
                busy.send(RSS_EVENTS, article(busy.hour(HOURS), market))
            ready_within(busy, SLACK)


@pytest.mark.parametrize("which", [BLOCK_AGENTS, BLOCK_KAFKA], ids=["agents", "kafka"])
def test_a_stuck_worker_ends(database: str, tmp_path: Path, which: int) -> None:
    """So that another one gets its partitions. /healthz says so before; the log says where."""
    with busy_worker(database, tmp_path, stuck_after=f"{STUCK:g}s") as busy:
        ready_within(busy, 30)
        with blocked(busy, tmp_path, which):
            began = time.monotonic()
            sick = False
            while busy.worker.process.poll() is None:
                sick = sick or status(busy, "/healthz") == 503
                assert time.monotonic() - began < WITHIN["stuck"] + SLACK
                time.sleep(0.1)
            assert time.monotonic() - began < WITHIN["stuck"] + SLACK
        assert sick
        assert busy.worker.process.returncode != 0
        log = busy.worker.log.read_text()
        assert "breakable_worker.py" in log


def status(busy: Busy, path: str) -> int:
    """0 if nobody answers any more."""
    try:
        return busy.get(path).status_code
    except httpx.HTTPError:
        return 0


def test_nothing_else_is_served(database: str, tmp_path: Path) -> None:
    """No table, no record and no setting, on loopback alone; methods and paths do not matter."""
    with busy_worker(database, tmp_path) as busy:
        ask: dict[str, Callable[[], httpx.Response]] = {
            path: lambda path=path: busy.get(path)
            for path in ("/", "/tables", "/tables/rss_hours", "/graph", "/stats", "/healthz/../x")
        }
        assert {path: answer().status_code for path, answer in ask.items()} == dict.fromkeys(
            ask, 404
        )
        assert busy.get("/healthz").json() == {"ok": True, "reasons": []}
        secret = busy.settings.postgres_dsn.get_secret_value()
        pages = "".join(busy.get(path).text for path in ("/metrics", "/healthz", "/readyz"))
        assert secret not in pages
