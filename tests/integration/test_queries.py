"""The dashboards' queries are answered by indexes; `make queries` has their times."""

import re
from pathlib import Path

import pytest

from tests.support.queries import QUERIES, plan
from tests.support.services import query

INDEX = {
    "flagged hours, counted": "Index Only Scan using lag_signals_history_flagged",
    "flagged in the last 24 hours": "lag_signals_history_flagged",
    "a market's signal and price over a month": "lag_signals_history_pkey",
    "a market's signals over a month": "lag_signals_history_pkey",
    "a market's prices over a month": "price_hourly_pkey",
}

DOCUMENT = Path(__file__).parents[2] / "docs" / "postgres.md"


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_of_the_dashboards_is_served_by_an_index(a_year: str, name: str) -> None:
    """No table is read from end to end."""
    lines = "\n".join(plan(a_year, QUERIES[name]))
    assert INDEX[name] in lines
    assert "Seq Scan" not in lines


@pytest.mark.parametrize(
    ("table", "column"), [("lag_signals_history", '"window"'), ("price_hourly", "hour")]
)
def test_retention_finds_old_rows_by_an_index(a_year: str, table: str, column: str) -> None:
    """A table without old rows is not read at all."""
    sql = f"SELECT ctid FROM {table} WHERE {column} < now() - interval '360 days' LIMIT 5000"
    lines = "\n".join(plan(a_year, sql))
    assert "Seq Scan" not in lines


def test_every_column_is_documented(a_year: str) -> None:
    """Table by table, in the order of the schema, and no other one."""
    parts = re.split(r"^## `(\w+)`$", DOCUMENT.read_text(), flags=re.MULTILINE)
    tables = zip(parts[1::2], parts[2::2], strict=True)
    documented = {name: re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) for name, text in tables}
    found: dict[str, list[str]] = {}
    for row in query(
        a_year,
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY ordinal_position",
    ):
        found.setdefault(row["table_name"], []).append(row["column_name"])
    ours = {name: found[name] for name in found if "yoyo" not in name}
    assert documented == ours


def test_the_documented_queries_run(a_year: str) -> None:
    """And those that need no market of the reader's give rows."""
    statements = re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert len(statements) == 4
    rows = [len(query(a_year, sql)) for sql in statements]
    assert [bool(count) for count in rows] == [True, True, False, True]
