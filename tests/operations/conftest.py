"""Servers from Debian's packages. What is not there is skipped, and says so."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.operations.postgres import Pooler, TlsPostgres

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.operations)


def tool(name: str) -> str:
    """The path of a program; skips the test where it is not there."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"NOT TESTED: there is no {name} here (tests/operations/packages.sh)")
    return found


@pytest.fixture(scope="session")
def tls_postgres() -> Iterator[TlsPostgres]:
    """Takes passwords over TLS, and nothing else."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip("NOT TESTED: there is no PostgreSQL of Debian's (tests/operations/packages.sh)")
    with TlsPostgres(folders[-1]) as server:
        yield server


@pytest.fixture(scope="session")
def pooler(tls_postgres: TlsPostgres) -> Iterator[Pooler]:
    """PgBouncer before it, in transaction mode, over TLS on both sides."""
    with Pooler(tool("pgbouncer"), tls_postgres) as server:
        yield server
