"""The run's own PostgreSQL, which can be killed, filled and made to refuse."""

import asyncio
import contextlib
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from marketlag.embedded.postgres import EmbeddedPostgres
from tests.support.services import new_database, query

_REFUSE = """
CREATE OR REPLACE FUNCTION refuse_some() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF random() < 0.02 THEN
        RAISE EXCEPTION 'chaos' USING ERRCODE = (ARRAY['40001', '40P01', '55P03'])[
            1 + floor(random() * 3)];
    END IF;
    RETURN NEW;
END $$
"""


class Database(EmbeddedPostgres):
    """``dsn`` is a migrated database; ``server_dsn`` the superuser's own."""

    def __init__(self) -> None:
        super().__init__()
        self.server_dsn = self.dsn
        self.dsn = new_database(self.server_dsn, "chaos")

    def kill(self) -> None:
        """SIGKILL to the server and all its processes."""
        pid = int((Path(self._folder) / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        everyone = [postmaster, *postmaster.children(recursive=True)]
        for process in everyone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        psutil.wait_procs(everyone, timeout=10)

    def resume(self) -> None:
        """Start it again on what is on its disk."""
        (Path(self._folder) / "postmaster.pid").unlink(missing_ok=True)
        self._server.start()

    def stop(self) -> None:
        with contextlib.suppress(OSError, psutil.Error):
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def refuse_some(self) -> None:
        """Serialisation failures, deadlocks and locks not got, in one row of fifty."""
        query(self.dsn, _REFUSE)
        query(
            self.dsn,
            "CREATE OR REPLACE TRIGGER refuse_some BEFORE INSERT OR UPDATE ON lag_signals_history "
            "FOR EACH ROW EXECUTE FUNCTION refuse_some()",
        )

    def accept_all(self) -> None:
        query(self.dsn, "DROP TRIGGER refuse_some ON lag_signals_history")

    def isolate(self) -> None:
        """Every new session is SERIALIZABLE, so that concurrent updates collide."""
        query(
            self.dsn,
            "ALTER DATABASE chaos SET default_transaction_isolation = 'serializable'",
        )
        self.disconnect_all()

    def disconnect_all(self) -> None:
        query(
            self.server_dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'chaos'",
        )


class Crowd:
    """Takes every connection that the server has to give, and holds it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leave = threading.Event()
        self._full = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._hold()), daemon=True)

    def come(self) -> None:
        self._database.disconnect_all()
        self._thread.start()
        self._full.wait(30)

    def leave(self) -> None:
        self._leave.set()
        self._thread.join()

    async def _hold(self) -> None:
        held: list[Any] = []
        while True:
            try:
                held.append(await asyncpg.connect(self._database.dsn))
            except asyncpg.TooManyConnectionsError:
                break
        self._full.set()
        while not self._leave.is_set():
            await asyncio.sleep(0.1)
        for connection in held:
            connection.terminate()


class Rival:
    """Another client that updates the same rows in transactions of some length."""

    def __init__(self, database: Database) -> None:
        self._dsn = database.dsn
        self._leave = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._update()), daemon=True)

    def come(self) -> None:
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join()

    async def _update(self) -> None:
        connection = await asyncpg.connect(self._dsn)
        while not self._leave.is_set():
            try:
                async with connection.transaction():
                    await connection.execute("UPDATE lag_signals_history SET outcome = outcome")
                    await asyncio.sleep(0.1)
            except asyncpg.PostgresError:
                await asyncio.sleep(0.05)
        await connection.close()
