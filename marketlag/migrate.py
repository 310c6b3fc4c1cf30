"""The schema: plain SQL files in ``migrations/``, applied in order, recorded, once."""

import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import yoyo

from marketlag.errors import DatabaseError

#: The folder lies beside the package, in a checkout as in an installed wheel.
MIGRATIONS = Path(__file__).parent.parent / "migrations"

#: Any number of our own: all `marketlag migrate` processes of a database take turns by it.
_ADVISORY_LOCK = 0x4D4C4147
_TURN_SECONDS = 0.2


def migrate(dsn: str) -> list[str]:
    """Apply what is missing; returns the names of the migrations applied now.

    Safe from several processes at once: they take turns. Raises ``DatabaseError``.
    """
    try:
        with _turn(dsn):
            return _apply(dsn)
    except ValueError:  # yoyo's own reading of the URL; its text may hold a piece of the password
        raise DatabaseError("MARKETLAG_POSTGRES_DSN is no URL that yoyo can read") from None
    except psycopg.Error as exc:
        raise DatabaseError(f"Postgres: {' '.join(str(exc).split())}") from None


@contextmanager
def _turn(dsn: str) -> Iterator[None]:
    """Be the only one that migrates this database.

    The lock is a transaction's: behind a pooler, the session is somebody else's in the next one.
    Who has to wait asks again, and holds no connection that a pooler could give to the first.
    """
    with psycopg.connect(dsn) as guard:
        while not _is_mine(guard):
            guard.rollback()
            time.sleep(_TURN_SECONDS)
        yield


def _is_mine(guard: psycopg.Connection[tuple[bool]]) -> bool:
    row = guard.execute("SELECT pg_try_advisory_xact_lock(%s)", (_ADVISORY_LOCK,)).fetchone()
    return row is not None and row[0]


def pending(dsn: str) -> list[str]:
    """The names of the migrations that are not applied yet. Raises ``DatabaseError``."""
    known = [migration.id for migration in yoyo.read_migrations(str(MIGRATIONS))]
    try:
        with closing(psycopg.connect(dsn, autocommit=True)) as connection:
            done = connection.execute("SELECT migration_id FROM _yoyo_migration").fetchall()
    except psycopg.errors.UndefinedTable:
        return known
    except psycopg.Error as exc:
        raise DatabaseError(f"Postgres: {' '.join(str(exc).split())}") from None
    return [name for name in known if (name,) not in done]


def _apply(dsn: str) -> list[str]:
    logging.getLogger("yoyo").setLevel(logging.WARNING)
    backend = yoyo.get_backend(f"postgresql+psycopg://{dsn.split('://', 1)[1]}")
    # A statement prepared in one transaction is not there in a pooler's next one.
    backend.connection.prepare_threshold = None
    try:
        # We hold the advisory lock, so a lock row can only be of a process that was killed.
        backend.break_lock()
        with backend.lock():
            missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
            backend.apply_migrations(missing)
    finally:
        backend.connection.close()
    return [migration.id for migration in missing]
