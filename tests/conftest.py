"""Fixtures for all tests. Every folder and database is the test's own."""

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from marketlag.embedded.postgres import EmbeddedPostgres
from tests.support.services import new_database


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the caller's environment nor a .env file changes a test."""
    import os

    for name in list(os.environ):
        if name.startswith("MARKETLAG_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL, one for all tests."""
    with EmbeddedPostgres() as server:
        yield server.dsn


@pytest.fixture
def database(postgres: str, request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database."""
    name = re.sub(r"\W+", "_", request.node.name)[:40]
    return new_database(postgres, f"{name}_{uuid.uuid4().hex[:8]}")
