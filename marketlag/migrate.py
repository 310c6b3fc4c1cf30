"""The schema: plain SQL files in ``migrations/``, applied in order, recorded, once."""

import importlib.resources
import logging
from contextlib import closing

import psycopg
import yoyo

from marketlag.errors import DatabaseError

#: Any number of our own: all `marketlag migrate` processes of a database queue up behind it.
_ADVISORY_LOCK = 0x4D4C4147


def migrate(dsn: str) -> list[str]:
    """Apply what is missing; returns the names of the migrations applied now.

    Safe from several processes at once: they take turns. Raises ``DatabaseError``.
    """
    try:
        with closing(psycopg.connect(dsn, autocommit=True)) as guard:
            guard.execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            return _apply(dsn)
    except psycopg.Error as exc:
        raise DatabaseError(f"Postgres: {_one_line(exc)}") from None


def _apply(dsn: str) -> list[str]:
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    scheme, rest = dsn.split("://", 1)
    del scheme
    with importlib.resources.as_file(importlib.resources.files("migrations")) as folder:
        backend = yoyo.get_backend(f"postgresql+psycopg://{rest}")
        try:
            # We hold the advisory lock, so a lock row can only be of a process that was killed.
            backend.break_lock()
            with backend.lock():
                missing = backend.to_apply(yoyo.read_migrations(str(folder)))
                backend.apply_migrations(missing)
        finally:
            backend.connection.close()
    return [migration.id for migration in missing]


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
