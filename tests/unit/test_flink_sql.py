"""What can be said of `docs/flink` without a Flink; `make flink` runs it on one."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from bench.flink.differences import DIFFERENCES, Difference
from bench.flink.generated import generated
from bench.flink.ours import ours
from bench.flink.traps import TRAPS
from marketlag.event_time import DAY, parse_ms
from marketlag.records import HEARTBEAT
from marketlag.topics import LAG_SIGNALS, PRICE_HOURLY, PRICE_NORMALIZED, RSS_EVENTS, RSS_SIGNALS

FOLDER = Path(__file__).parents[2] / "docs" / "flink"
README = (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("each", DIFFERENCES, ids=[each.name for each in DIFFERENCES])
def test_ours_differs_as_it_is_documented(each: Difference) -> None:
    """The exact rows, and other ones than Flink's; the page names the case."""
    rows = ours(each.rss, each.prices, stays_open=each.stays_open)
    assert each.columns_of(rows) == each.ours
    assert each.ours != each.flink
    assert f"| `{each.name}`:" in README


def test_every_trap_has_its_script_and_its_place() -> None:
    """None is forgotten on either side."""
    scripts = {path.name for path in (FOLDER / "traps").glob("*.sql")}
    assert {trap.script.name for trap in TRAPS} == scripts
    assert set(re.findall(r"\]\(traps/([\w-]+\.sql)\)", README)) == scripts
    for trap in TRAPS:
        if isinstance(trap.outcome, str):
            assert trap.outcome in " ".join(README.split()), trap.name


def test_the_tables_are_the_topics() -> None:
    """Each of the five, by its name."""
    text = (FOLDER / "tables.sql").read_text()
    topics = {RSS_EVENTS, RSS_SIGNALS, PRICE_HOURLY, PRICE_NORMALIZED, LAG_SIGNALS}
    assert set(re.findall(r"'topic' = '([\w.]+)'", text)) == topics


@pytest.mark.parametrize("seed", range(10))
def test_the_generator_keeps_to_what_both_have_in_common(seed: int) -> None:
    """No article twice, one price an hour and outcome within its range, no gap over 7 days."""
    rss, prices = generated(seed)
    assert generated(seed) == (rss, prices)
    ids = [row["article_id"] for row in rss if row["market_slug"] != HEARTBEAT]
    assert len(set(ids)) == len(ids)
    hours = [(row["market_slug"], row["outcome"], row["event_time"]) for row in prices]
    assert len(set(hours)) == len(hours)
    assert all(-0.1 <= row["price"] <= 1.1 for row in prices)
    for market in {row["market_slug"] for row in rss}:
        times = sorted(parse_ms(r["published_at"]) for r in rss if r["market_slug"] == market)
        assert market == HEARTBEAT or all(b - a <= 7 * DAY for a, b in pairwise(times))
