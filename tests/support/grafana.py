"""The dashboards as Grafana would ask them: panels, their queries, macros and variables."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
BOARDS = sorted(path.stem for path in FOLDER.glob("*.json"))

_FILTER = re.compile(r"\$__timeFilter\(([^)]+)\)")
_VARIABLE = re.compile(r"\$\{(\w+):sqlstring\}")


class Query(NamedTuple):
    """One query of one panel."""

    board: str
    panel: str
    #: The panel's type, as Grafana names it.
    kind: str
    text: str
    #: ``time_series`` or ``table``, of SQL.
    format: str
    #: The name of a series, of PromQL.
    legend: str

    @property
    def name(self) -> str:
        return f"{self.board}: {self.panel}"


def load(board: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{board}.json").read_text())
    return found


def sql_queries() -> list[Query]:
    return [query for board in BOARDS for query in _queries(board, "rawSql")]


def promql_queries() -> list[Query]:
    return [query for board in BOARDS for query in _queries(board, "expr")]


def _queries(board: str, field: str) -> Iterator[Query]:
    for panel in load(board)["panels"]:
        for target in panel.get("targets", []):
            if field in target:
                more = target.get("format", ""), target.get("legendFormat", "")
                yield Query(board, panel["title"], panel["type"], target[field], *more)


def variables(board: str) -> dict[str, Any]:
    """The query of each variable of a dashboard that asks Postgres."""
    listed = load(board)["templating"].get("list", [])
    return {each["name"]: each["query"] for each in listed if each["type"] == "query"}


def opens_at(board: str) -> timedelta:
    """How far back a dashboard shows at first."""
    back = re.fullmatch(r"now-(\d+)([hd])", load(board)["time"]["from"])
    assert back is not None
    return timedelta(**{"hours" if back[2] == "h" else "days": int(back[1])})


def expanded(sql: str, since: datetime, until: datetime, **chosen: str) -> str:
    """SQL with Grafana's macros and the *chosen* variables put in.

    Fails on anything else that Grafana would have to know about.
    """

    def time_filter(match: re.Match[str]) -> str:
        return f"{match[1]} BETWEEN '{since:%Y-%m-%dT%H:%M:%SZ}' AND '{until:%Y-%m-%dT%H:%M:%SZ}'"

    def variable(match: re.Match[str]) -> str:
        return "'" + chosen[match[1]].replace("'", "''") + "'"

    text = _VARIABLE.sub(variable, _FILTER.sub(time_filter, sql))
    assert "$" not in text, text
    return text
