"""Every panel's SQL on a year of rows: in time, and with the columns that the panel needs.

Its PromQL is tried in ``tests/operations``, on a Prometheus.
"""

import re
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from deploy.grafana.__main__ import rendered
from tests.support import grafana
from tests.support.grafana import Query
from tests.support.services import query

SQL = grafana.sql_queries()
CHOSEN = {"market": "market-7", "move": "0.02"}
NUMBERS = {"int8", "int4", "float8", "numeric"}


def columns(dsn: str, sql: str) -> dict[str, str]:
    """The names and types of a query's columns."""
    import asyncio

    async def ask() -> dict[str, str]:
        connection = await asyncpg.connect(dsn)
        try:
            statement = await connection.prepare(sql)
            return {each.name: each.type.name for each in statement.get_attributes()}
        finally:
            await connection.close()

    return asyncio.run(ask())


def asked(panel: Query, days: int) -> str:
    """The panel's SQL for the last so many days."""
    now = datetime.now(UTC)
    return grafana.expanded(panel.text, now - timedelta(days=days), now, **CHOSEN)


def test_the_dashboards_are_those_that_the_code_makes() -> None:
    """`make dashboards` would change nothing."""
    for path, text in rendered().items():
        assert path.read_text() == text, path.name
    assert [path.stem for path in sorted(rendered())] == grafana.BOARDS


def test_panels_are_told_apart_and_say_what_they_show() -> None:
    """Each has an id and a description, and asks a data source that is provisioned."""
    provisioned = (grafana.FOLDER.parent / "provisioning/datasources/marketlag.yml").read_text()
    known = set(re.findall(r"uid: (\S+)", provisioned))
    for board in grafana.BOARDS:
        panels = grafana.load(board)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            if panel["type"] != "row":
                assert panel["description"], panel["title"]
                assert {panel["datasource"]["uid"]} <= known
                assert panel["targets"]


@pytest.mark.parametrize("panel", SQL, ids=[each.name for each in SQL])
def test_a_panel_gets_a_year_of_rows_within_a_second(a_year: str, panel: Query) -> None:
    """Postgres gives up after a second, and then the test fails; rows there are."""
    rows = query(a_year, asked(panel, 365), timeout_ms=1_000)
    assert rows
    assert any(value is not None for value in rows[0].values())


@pytest.mark.parametrize("panel", SQL, ids=[each.name for each in SQL])
def test_a_panel_gets_the_columns_that_it_needs(a_year: str, panel: Query) -> None:
    """As Grafana's kinds of panels want them."""
    found = columns(a_year, asked(panel, 7))
    kinds = list(found.values())
    if panel.kind == "timeseries":
        assert panel.format == "time_series"
        assert found.pop("time") == "timestamptz"
        names = [name for name, kind in found.items() if kind == "text"]
        assert names in ([], ["metric"])
        assert {found[name] for name in found if name not in names} <= NUMBERS
        times = [row["time"] for row in query(a_year, asked(panel, 7))]
        assert times == sorted(times)
    elif panel.kind in ("stat", "histogram"):
        assert len(kinds) == 1
        assert set(kinds) <= NUMBERS
    elif panel.kind == "xychart":
        assert len(kinds) > 1
        assert set(kinds) <= NUMBERS
    elif panel.kind == "barchart":
        assert kinds[0] == "text"
        assert set(kinds[1:]) <= NUMBERS
    else:
        assert panel.kind == "table"
        assert len(kinds) > 1


def test_the_variable_lists_every_market(a_year: str) -> None:
    """Without reading every row for its market."""
    sql = grafana.variables("history")["market"]
    rows = query(a_year, sql, timeout_ms=1_000)
    assert sorted(row["market"] for row in rows) == sorted(f"market-{n}" for n in range(1, 21))


def test_what_followed_a_flag_is_told(database: str) -> None:
    """The move after an hour, six and a day where a fresh price is known; how often it moved."""
    flag, hour = datetime(2026, 3, 2, 14, tzinfo=UTC), timedelta(hours=1)
    query(
        database,
        """
        INSERT INTO lag_signals_history VALUES (
            'market-7', $1, 'Yes', 2, 0, true, 0.9, 3, 1, 2, 4, 0.40, 0.4, false, 5, 9, 0.8, $1,
            now(), now(), '{1}'
        )
        """,
        flag,
    )
    later = {1: (0.41, False), 6: (0.50, False), 24: (0.60, True), 30: (1.0, False)}
    for after, (price, stale) in later.items():
        query(
            database,
            """
            INSERT INTO price_hourly VALUES (
                'market-7', 'YES', 'yes', $1, $2, 0.4, 0, $3, $1, now(), now(), '{1}'
            )
            """,
            *(flag + after * hour, price, stale),
        )
    told = {panel.panel: panel for panel in SQL if panel.board == "history"}

    def rows(name: str) -> list[asyncpg.Record]:
        text = told[name].text
        return query(database, grafana.expanded(text, flag - hour, flag + 40 * hour, **CHOSEN))

    [row] = rows("This market's flags, and what the price did then")
    moves = [row["+1 h"], row["+6 h"], row["+24 h"], row["newest"]]
    assert moves == [pytest.approx(0.01), pytest.approx(0.10), None, 1.0]
    counted = [tuple(each) for each in rows("How often the price moved after a flag")]
    assert counted == [("1 h", 1, 0), ("6 h", 1, 1), ("24 h", 0, 0)]
    assert [tuple(each) for each in rows("The same for all markets")] == counted
