"""Postgres: a pool that waits for it, and what to do with each kind of error."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import stamina

from marketlag import metrics
from marketlag.errors import DatabaseError

#: A statement of a hundred rows takes milliseconds; past this the connection is given up.
COMMAND_TIMEOUT = 30.0
CONNECT_TIMEOUT = 10.0
MAX_CONNECTIONS = 4


class Fault(enum.Enum):
    """Whose fault an error is, and so what helps."""

    #: The connection, the load, another transaction: try again.
    PASSING = enum.auto()
    #: The row itself: it will be refused for ever.
    ROW = enum.auto()
    #: The schema, the rights, the settings: a person has to act.
    LASTING = enum.auto()


#: SQLSTATE classes: connection, transaction rollback, resources, operator, system.
_PASSING_CLASSES = {"08", "40", "53", "57", "58"}
#: Lock not available; a standby that is about to take over; a server that is starting.
_PASSING_STATES = {"55P03", "25006"}
#: Data exception, integrity violation, a limit exceeded (a slug too long for the index).
_ROW_CLASSES = {"22", "23", "54"}


def fault_of(error: BaseException) -> Fault:
    """Classify what a statement or a connection raised."""
    state = getattr(error, "sqlstate", None)
    if state is not None:
        if state[:2] in _PASSING_CLASSES or state in _PASSING_STATES:
            return Fault.PASSING
        return Fault.ROW if state[:2] in _ROW_CLASSES else Fault.LASTING
    if isinstance(error, asyncpg.ClientConfigurationError):
        return Fault.LASTING
    if isinstance(error, OSError | TimeoutError | asyncpg.InterfaceError):
        return Fault.PASSING
    return Fault.LASTING


class Database:
    """Executes statements through a pool that connects when it is needed."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._pool: asyncpg.Pool | None = None

    async def execute(self, statement: str, *args: object) -> int:
        """Execute it, and wait for Postgres as long as that takes. Returns the rows changed."""
        tag = ""
        async for attempt in stamina.retry_context(
            on=lambda exc: fault_of(exc) is Fault.PASSING,
            attempts=None,
            timeout=None,
            wait_initial=0.2,
            wait_max=5.0,
        ):
            if attempt.num > 1:
                metrics.SINK_RETRIES.inc()
            with attempt:
                if self._pool is None:
                    self._pool = await asyncpg.create_pool(
                        self._dsn,
                        min_size=0,
                        max_size=MAX_CONNECTIONS,
                        timeout=CONNECT_TIMEOUT,
                        command_timeout=COMMAND_TIMEOUT,
                        # A pooler in transaction mode (Supabase, PgBouncer) has no place for them.
                        statement_cache_size=0,
                    )
                # In a transaction: between preparing a statement and running it, a pooler would
                # give its connection to somebody else.
                async with self._pool.acquire() as connection, connection.transaction():
                    tag = await connection.execute(statement, *args)
        count = tag.rpartition(" ")[2]  # "INSERT 0 5"; "SET" has none
        return int(count) if count.isdigit() else 0

    async def close(self) -> None:
        """Close without waiting for statements that hang."""
        if self._pool is not None:
            self._pool.terminate()
            self._pool = None


@asynccontextmanager
async def connected(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a command. Raises ``DatabaseError`` for whatever Postgres has against it."""
    try:
        connection = await asyncpg.connect(dsn, timeout=CONNECT_TIMEOUT, statement_cache_size=0)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise DatabaseError(f"MARKETLAG_POSTGRES_DSN: {exc or type(exc).__name__}") from None
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
        raise lasting(exc) from None
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


def lasting(error: Exception) -> DatabaseError:
    """What to tell a person who has to act."""
    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedColumnError):
        return DatabaseError(f"Postgres has another schema ({error}): run `marketlag migrate`")
    return DatabaseError(f"Postgres refuses the statement: {error}")
