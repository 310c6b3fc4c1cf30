"""The dashboards' queries on a year of rows: plans and times.

python -m bench.queries [--markets 500] [--days 365] [--plans]
"""

import argparse
import re
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from marketlag.embedded.postgres import EmbeddedPostgres
from tests.support import grafana, year
from tests.support.queries import QUERIES, plan
from tests.support.services import new_database

RUNS = 7
#: What a panel is asked for: what its dashboard shows at first, and the longest there is.
SPANS = {"as it opens": None, "a year": timedelta(days=365)}
CHOSEN = {"market": "market-7", "move": "0.02"}


def milliseconds(lines: list[str]) -> float:
    """Planning and execution, as EXPLAIN (ANALYZE) has measured them."""
    return sum(float(each) for each in re.findall(r"Time: ([\d.]+) ms", "\n".join(lines)))


def statements() -> Iterator[tuple[str, str]]:
    """Names and SQL: the queries of ``docs/postgres.md``, and every panel's."""
    yield from QUERIES.items()
    now = datetime.now(UTC)
    for query in grafana.sql_queries():
        for name, span in SPANS.items():
            since = now - (span or grafana.opens_at(query.board))
            if span is None or "$__timeFilter" in query.text:
                sql = grafana.expanded(query.text, since, now, **CHOSEN)
                yield f"{query.name}, {name}", sql
    yield "history: variable market", grafana.variables("history")["market"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--markets", type=int, default=500)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--plans", action="store_true", help="show the plans as well")
    options = parser.parse_args()
    with EmbeddedPostgres() as server:
        dsn = new_database(server.dsn, "year")
        began = time.monotonic()
        rows = year.fill(dsn, markets=options.markets, days=options.days)
        print(f"{rows:,} rows in each table, written in {time.monotonic() - began:.0f} s")
        for name, sql in statements():
            plans = [plan(dsn, sql, analyze=True) for _ in range(RUNS)]
            times = sorted(milliseconds(each) for each in plans)
            print(f"{name:75} median {statistics.median(times):6.1f} ms, worst {times[-1]:6.1f} ms")
            if options.plans:
                print("\n".join(f"    {line}" for line in plans[-1]))


if __name__ == "__main__":
    main()
