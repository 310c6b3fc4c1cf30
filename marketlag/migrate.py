"""The schema: plain SQL files in ``migrations/``, applied in order, recorded, once."""

import logging
from contextlib import closing
from pathlib import Path

import psycopg
import yoyo

from marketlag.errors import DatabaseError

#: The folder lies beside the package, in a checkout as in an installed wheel.
MIGRATIONS = Path(__file__).parent.parent / "migrations"

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
    except ValueError:  # yoyo's own reading of the URL; its text may hold a piece of the password
        raise DatabaseError("MARKETLAG_POSTGRES_DSN is no URL that yoyo can read") from None
    except psycopg.Error as exc:
        raise DatabaseError(f"Postgres: {' '.join(str(exc).split())}") from None


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
    try:
        # We hold the advisory lock, so a lock row can only be of a process that was killed.
        backend.break_lock()
        with backend.lock():
            missing = backend.to_apply(yoyo.read_migrations(str(MIGRATIONS)))
            backend.apply_migrations(missing)
    finally:
        backend.connection.close()
    return [migration.id for migration in missing]
