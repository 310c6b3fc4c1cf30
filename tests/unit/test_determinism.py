"""Whatever happens on the way, the final rows are those of the plain model."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marketlag.event_time import BEGINNING, DAY, HOUR, MINUTE, format_ms, parse_ms
from marketlag.records import LagRow, Signal
from marketlag.rules.lags import LagRules
from tests.support import model
from tests.support.logs import ARRIVAL, Record, article, at, heartbeat, price, record
from tests.support.simulation import Simulation

MARKETS = st.sampled_from(["a", "b"])
# Halves, so that no order of adding can round differently.
HALVES = st.integers(-4, 8).map(lambda n: n / 2)
#: How far the log's time moves on from one article to the next: mostly minutes, sometimes days.
STEPS = st.sampled_from([0, 1, 7, 20, 50, 90, 300, 3_000, 8_000])
BACK = st.sampled_from([0, 0, 0, 3, 40, 70, 200])


@st.composite
def rss_logs(draw: st.DrawFn) -> list[Record]:
    """Articles with late ones, duplicates and heartbeats; some records are junk."""
    log: list[Record] = []
    now = at("00:00") // MINUTE
    for offset in range(draw(st.integers(1, 60))):
        now += draw(STEPS)
        published = (now - draw(BACK)) * MINUTE + draw(st.sampled_from([0, 1, 59_999]))
        kind = draw(st.sampled_from(["article"] * 8 + ["heartbeat", "junk"]))
        if kind == "junk":
            value: dict[str, Any] | bytes = draw(st.sampled_from([b"", b"{}", b"\xff"]))
        elif kind == "heartbeat":
            value = heartbeat(published)
        else:
            value = article(
                published,
                draw(MARKETS),
                keyword_score=draw(HALVES),
                article_id=draw(st.sampled_from([None, None, "x", "y"])),
            )
        log.append(record(offset, value, timestamp=ARRIVAL + offset, **_key(value)))
    return log


def _key(value: dict[str, Any] | bytes) -> dict[str, bytes]:
    return {"key": b"junk"} if isinstance(value, bytes) else {}


@st.composite
def price_logs(draw: st.DrawFn) -> list[Record]:
    """Prices in about the order of their hours: stale ones, corrections, equal fetch times."""
    log: list[Record] = []
    hour = at("00:00")
    for offset in range(draw(st.integers(0, 40))):
        hour += draw(st.sampled_from([0, 0, 1, 1, 2, 60, 200])) * HOUR
        at_hour = hour - draw(st.sampled_from([0, 0, 0, 1, 5, 190])) * HOUR
        value = price(
            at_hour,
            draw(st.sampled_from([-0.05, 0.25, 0.5, 1.05])),
            draw(st.sampled_from([None, 0.0, 0.015625, 0.5])),
            market_slug=draw(MARKETS),
            outcome=draw(st.sampled_from(["YES", "yes", "NO"])),
            stale=draw(st.booleans()),
            fetched_at=format_ms(at_hour + draw(st.integers(1, 2)) * MINUTE),
        )
        log.append(record(offset, value, timestamp=ARRIVAL + 1000 + offset))
    return log


def live(simulation: Simulation, data: st.DataObject) -> None:
    """Run in random chunks and interleavings, with commits and crashes at any point."""
    job1, job2, job3 = simulation.job1, simulation.job2, simulation.job3
    counts = st.integers(1, 12)
    for _ in range(data.draw(st.integers(0, 40), label="actions")):
        action = data.draw(
            st.sampled_from(["articles", "prices", "join-s", "join-p", "commit", "crash", "reset"])
        )
        if action == "articles":
            job1.step(data.draw(counts))
        elif action == "prices":
            job2.step(data.draw(counts))
        elif action in ("join-s", "join-p"):
            job3.step(action == "join-p", data.draw(counts))
        elif action == "commit":
            job1.commit()
            job2.commit()
            job3.commit()
        elif action == "crash":
            job1.restart(data.draw(st.integers(0, len(job1.commits) - 1), label="recovery point"))
            job2.restart()
            job3.restart(
                keep_local=data.draw(st.booleans(), label="RocksDB survives"),
                arrived=data.draw(st.tuples(*[st.integers(0, 40)] * 3), label="in changelogs"),
            )
        else:
            job3.reset()


@st.composite
def rules_of_both(draw: st.DrawFn) -> tuple[LagRules, model.Rules]:
    """The same settings for the rules and for the model: often the defaults."""
    size = draw(st.sampled_from([HOUR, HOUR, 15 * MINUTE, 5 * MINUTE, MINUTE]))
    ttl = draw(st.sampled_from([7 * DAY, 7 * DAY, DAY, 2 * HOUR]))
    price_at: Any = draw(st.sampled_from(["window_start", "window_start", "window_end"]))
    rule: Any = draw(st.sampled_from(["absolute", "relative", "either"]))
    zscore = draw(st.sampled_from([0.5, 1.25]))
    return (
        LagRules(size, rule, 1.0, zscore, 0.02, ttl, price_at == "window_end"),
        model.Rules(size, ttl, price_at, rule, 1.0, zscore, 0.02),
    )


@settings(max_examples=600, deadline=None)
@given(rss_logs(), price_logs(), rules_of_both(), st.sampled_from([0, 0, 40 * MINUTE]), st.data())
def test_the_final_rows_are_those_of_the_plain_model(
    rss: list[Record],
    prices: list[Record],
    rules: tuple[LagRules, model.Rules],
    lateness: int,
    data: st.DataObject,
) -> None:
    """Over chunkings, interleavings, redeliveries, and restarts from any committed point.

    With windows from a minute to an hour, corrections, each rule of a jump, each hour of a price,
    and state that expires. Every signal ever sent is one that the model sends as well: a replay
    only repeats what is true.
    """
    simulation = Simulation(rss, prices, rules[0], lateness)
    live(simulation, data)
    simulation.finish()

    good = [each for each in rss if each.key != b"junk"]
    signals = model.signals_of(good, size=rules[1].size, lateness=lateness)
    expected = model.rows_of(signals.emitted, prices, rules=rules[1])
    assert {(m, parse_ms(w)) for m, w in simulation.job3.rows} == expected.keys()
    for row in simulation.job3.rows.values():
        assert_same(row, expected[row.market, parse_ms(row.window)])
    assert {as_model(each) for each in simulation.job1.signals} <= set(signals.emitted)
    assert simulation.job1.late == set(signals.late)
    assert simulation.job1.refused == {each.offset for each in rss if each.key == b"junk"}


def as_model(emitted: Record) -> model.ModelSignal:
    signal = msgspec.json.decode(emitted.value or b"", type=Signal)
    return model.ModelSignal(
        signal.market_slug,
        parse_ms(signal.window_start),
        signal.mention_count,
        signal.keyword_score,
        signal.source_weighted_signal,
        signal.source_weight_avg,
        emitted.timestamp,
    )


def assert_same(row: LagRow, expected: dict[str, Any]) -> None:
    found = msgspec.structs.asdict(row) | {"detected_at": parse_ms(row.detected_at)}
    for name, wanted in expected.items():
        if name in ("confidence", "signal_zscore"):
            assert found[name] == pytest.approx(wanted), name
        else:
            assert found[name] == wanted, name


@settings(max_examples=100, deadline=None)
@given(rss_logs(), price_logs(), st.data())
def test_a_second_reading_of_the_whole_log_changes_no_row(
    rss: list[Record], prices: list[Record], data: st.DataObject
) -> None:
    """Versions are made of inputs: computing everything again gives none that is greater."""
    simulation = Simulation(rss, prices)
    live(simulation, data)
    simulation.finish()
    before = dict(simulation.job3.rows)
    simulation.job1.restart(0)
    simulation.job1.state = Simulation(rss, prices).job1.state
    simulation.job2.committed, simulation.job2.committed_clock = 0, BEGINNING
    simulation.job2.restart()
    simulation.job3.reset()
    simulation.finish()
    assert simulation.job3.rows == before
