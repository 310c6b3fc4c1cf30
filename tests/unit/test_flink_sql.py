"""What can be said of ``docs/flink`` without Flink; ``make flink`` runs it."""

import re

import pytest

from bench.flink.differences import DIFFERENCES, Difference
from bench.flink.generated import generated
from bench.flink.ours import ONLY_OURS, difference, ours
from bench.flink.runner import SQL, final
from bench.flink.traps import TRAPS
from marketlag.event_time import DAY, HOUR, MINUTE
from marketlag.records import HEARTBEAT, LagRow, Price, Signal
from marketlag.rules.lags import LagRules
from marketlag.rules.prices import TOLERANCE
from marketlag.topics import LAG_SIGNALS, PRICE_HOURLY, PRICE_NORMALIZED, RSS_EVENTS, RSS_SIGNALS
from tests.support import model
from tests.support.logs import log

README = (SQL / "README.md").read_text()


def sql(name: str) -> str:
    return (SQL / name).read_text()


def test_the_document_names_each_file_and_no_other() -> None:
    files = {str(path.relative_to(SQL)) for path in SQL.rglob("*.sql")}
    assert set(re.findall(r"\]\(([\w/.-]+\.sql)\)", README)) == files
    assert {f"traps/{trap.name}.sql" for trap in TRAPS} == {
        name for name in files if name.startswith("traps/")
    }


def test_a_script_says_which_sql_works() -> None:
    """By its first comment, which names a file that is there."""
    for trap in TRAPS:
        comment = trap.script.read_text().split("\n\n")[0]
        for name in re.findall(r"[\w-]+\.sql", comment):
            assert (SQL / name).exists() or (SQL / "traps" / name).exists(), trap.name


def columns(table: str) -> list[str]:
    """The columns of a table in tables.sql that are in the records."""
    found = re.search(rf"CREATE TABLE {table} \((.+?)\n\) WITH", sql("tables.sql"), re.DOTALL)
    assert found is not None
    lines = [line.strip() for line in found[1].splitlines()]
    names = [re.match(r"`?([a-z_]+)`? [A-Z]+\S*,?( NOT NULL)?$", line) for line in lines]
    return [name[1] for name in names if name]


def test_the_tables_have_the_fields_of_the_records() -> None:
    assert columns("rss_signals_hourly") == list(Signal.__struct_fields__)
    assert columns("price_hourly") == columns("price_normalized") == list(Price.__struct_fields__)
    expected = [name for name in LagRow.__struct_fields__ if name not in ONLY_OURS]
    assert columns("lag_signals") == expected
    assert columns("rss_events") == [
        "market_slug", "published_at", "source_weight", "keyword_score",
    ]  # fmt: skip
    topics = re.findall(r"'topic' = '(.+)'", sql("tables.sql"))
    assert topics == [RSS_EVENTS, RSS_SIGNALS, PRICE_HOURLY, PRICE_NORMALIZED, LAG_SIGNALS]


def test_the_sql_has_the_figures_of_the_rules() -> None:
    rules = LagRules()
    assert f"signal_delta > {rules.signal_threshold:.0f}E0" in sql("job3_lags.sql")
    assert f"ABS(price_delta) < {rules.price_threshold}E0" in sql("job3_lags.sql")
    assert f"BETWEEN -{TOLERANCE}E0 AND {1 + TOLERANCE}E0" in sql("job2_prices.sql")
    assert f"'table.exec.state.ttl' = '{rules.ttl // DAY} d'" in sql("tables.sql")
    assert f"market_slug <> '{HEARTBEAT}'" in sql("job1_signals.sql")
    assert f"INTERVAL '{rules.window // HOUR}' HOUR" in sql("job1_signals.sql")


@pytest.mark.parametrize("each", DIFFERENCES, ids=lambda each: each.name)
def test_where_flink_differs_ours_is_as_documented(each: Difference) -> None:
    """The exact rows of our rules; Flink's are others."""
    rows = ours(each.rss, each.prices, stays_open=each.stays_open)
    assert each.columns_of(rows) == each.ours
    assert each.flink != each.ours
    assert f"`{each.name}`" in README


@pytest.mark.parametrize("seed", range(10))
def test_a_generated_case_is_what_both_have_in_common(seed: int) -> None:
    """No article and no price twice, no 8 days of silence; late articles and unpriced windows."""
    rss, prices = generated(seed)
    ids = [row["article_id"] for row in rss if "article_id" in row]
    assert len(ids) == len(set(ids))
    hours = [(row["market_slug"], row.get("outcome"), row["event_time"]) for row in prices]
    assert len(hours) == len(set(hours))

    signals = model.signals_of(log(*rss), size=HOUR, delay=5 * MINUTE)
    assert signals.late
    starts: dict[str, int] = {}
    for signal in signals.emitted:
        assert signal.start - starts.get(signal.market, signal.start) < 7 * DAY
        starts[signal.market] = signal.start
    rows = ours(rss, prices, stays_open=False)
    assert {row["price"] is None for row in rows.lags} == {True, False}
    for topic in (rss, prices):
        assert any(row["market_slug"] == HEARTBEAT for row in topic)


def test_a_difference_of_one_bit_is_seen() -> None:
    assert difference([{"a": 0.1 + 0.2}], [{"a": 0.3}]) == (
        '  a 0.30000000000000004, wanted 0.3\n  in {"a": 0.3}'
    )
    assert difference([{"a": 0.0}], [{"a": -0.0}]) is not None
    assert difference([{"a": 1}], [{"a": 1.0}]) is not None
    assert difference([{"a": 1}], []) == '  found: {"a": 1}'
    assert difference([], [{"a": 1}]) == '  missing: {"a": 1}'
    assert difference([{"a": None, "b": 1.5}], [{"b": 1.5, "a": None}]) is None


def test_a_changelog_leaves_the_newest_rows() -> None:
    """A row is replaced by an update, or by being deleted and made again."""
    old = {"market": "m", "window": "2025-01-01T10:00:00Z", "price": None}
    new = {**old, "price": 0.5}
    other = {**old, "market": "a"}
    assert final(
        [
            {"before": None, "after": old, "op": "c"},
            {"before": None, "after": other, "op": "c"},
            {"before": old, "after": None, "op": "d"},
            {"before": None, "after": new, "op": "c"},
        ]
    ) == [other, new]
