"""Fixtures that several of these tests share."""

import pytest

from tests.support import year
from tests.support.services import new_database


@pytest.fixture(scope="session")
def a_year(postgres: str) -> str:
    """A database with a year of rows of twenty markets."""
    dsn = new_database(postgres, "a_year")
    assert year.fill(dsn, markets=20, days=365) == 175_200
    return dsn
