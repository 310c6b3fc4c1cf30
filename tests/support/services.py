"""Services for tests: the embedded ones, and databases of their own on one server."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from marketlag.embedded.broker import MockBroker
from marketlag.embedded.postgres import EmbeddedPostgres
from marketlag.embedded.worker import WorkerProcess
from marketlag.errors import ReplayError
from marketlag.migrate import migrate
from marketlag.replay.services import worker_env
from marketlag.settings import Settings, load_settings
from marketlag.topics import topic_specs

#: Nothing in a test has to wait for other workers or fuller batches, unless it says so.
QUICK = {
    "startup_delay": "100ms",
    "sink_max_wait": "200ms",
    "commit_interval": "200ms",
    "fetch_max_wait": "50ms",
}


class StoppablePostgres(EmbeddedPostgres):
    """A server of the test's own, that can be away for a while."""

    def pause(self) -> None:
        self._server.stop()

    def resume(self) -> None:
        self._server.start()


def wait_for_log(running: WorkerProcess, text: str) -> None:
    """Wait until the worker has logged *text*; fail if it ends before."""
    while text not in running.log.read_text(errors="replace"):
        running.check()
        time.sleep(0.1)


def ready_worker(settings: Settings, folder: Path) -> WorkerProcess:
    """A worker that has its partitions."""
    return when_ready(lambda: worker(settings, folder))


def when_ready(start: Callable[[], WorkerProcess]) -> WorkerProcess:
    """Start a worker until it has its partitions.

    librdkafka's mock cluster throws a member out (INVALID_REQUEST) whose SyncGroup comes after the
    leader's; such a worker ends, and is started again, as a supervisor would.
    """
    while True:
        running = start()
        try:
            wait_for_log(running, "Worker ready")
        except ReplayError:
            assert "InvalidRequestError" in running.log.read_text()
            running.log.unlink()
        else:
            return running


def on_database(dsn: str, name: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{name}"))


def new_database(server_dsn: str, name: str) -> str:
    """A fresh, migrated database on the server."""
    query(server_dsn, f'CREATE DATABASE "{name}"')
    dsn = on_database(server_dsn, name)
    migrate(dsn)
    return dsn


def query(dsn: str, sql: str, *args: Any, timeout_ms: int = 0) -> list[asyncpg.Record]:
    """The rows of a statement; with a limit, Postgres gives up after it."""

    async def fetch() -> list[asyncpg.Record]:
        limits = {"statement_timeout": str(timeout_ms)} if timeout_ms else None
        connection = await asyncpg.connect(dsn, server_settings=limits)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    return asyncio.run(fetch())


def table(
    dsn: str, name: str = "lag_signals_history", *, without: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """A table in order of its key."""
    key = {"lag_signals_history": 'market, "window"', "price_hourly": "market, outcome_key, hour"}
    rows = query(dsn, f"SELECT * FROM {name} ORDER BY {key[name]}")
    return [{k: v for k, v in row.items() if k not in without} for row in rows]


@contextmanager
def pipeline(dsn: str, **chosen: Any) -> Iterator[Settings]:
    """Settings for a fresh embedded broker and this database."""
    settings = load_settings(**{**QUICK, **chosen})
    with MockBroker(topic_specs(settings)) as broker:
        yield load_settings(**{**QUICK, **chosen, "broker_url": broker.url, "postgres_dsn": dsn})


def worker(settings: Settings, folder: Path, *, web: bool = False, **changed: Any) -> WorkerProcess:
    """Start a worker with its own state folder and log."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = load_settings(
        **{**settings.model_dump(exclude_unset=True), "datadir": folder / "state", **changed}
    )
    return WorkerProcess(worker_env(settings), folder / "worker.log", web=web)


def marketlag(*args: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """Run the real command line and return what it said."""
    return run([str(Path(sys.executable).parent / "marketlag"), *args], env, **options)


def faust(*args: str, env: Mapping[str, str] | None = None, **options: Any) -> Any:
    """The same program by its other name."""
    return run([sys.executable, "-m", "faust", "-A", "marketlag", *args], env, **options)


def run(command: list[str], env: Mapping[str, str] | None, **options: Any) -> Any:
    return subprocess.run(
        command,
        env={**os.environ, "COLUMNS": "100", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        **options,
    )
