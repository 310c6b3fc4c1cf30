import random

import msgspec
import pytest

from marketlag.event_time import HOUR, MINUTE, parse_ms
from marketlag.records import LagRow
from marketlag.rules.facts import LagState
from marketlag.rules.lags import LagRules, Tracked, fold_prices, fold_signals
from marketlag.rules.prices import check_all
from marketlag.rules.signals import SignalState, TimedSignal, fold
from tests.support import golden, model
from tests.support.logs import Record, heartbeat, log, record


def rss_log(case: str) -> list[Record]:
    records = log(*[msgspec.json.decode(line) for line in golden.lines(case, "rss")])
    if case.startswith("flush"):
        newest = max(parse_ms(msgspec.json.decode(r.value)["published_at"]) for r in records)
        records.append(record(len(records), heartbeat(newest + 3 * HOUR)))
    return records


def signals_in_chunks(case: str, rng: random.Random) -> tuple[list[TimedSignal], int]:
    records = rss_log(case)
    state = SignalState(size=HOUR, delay=5 * MINUTE)
    signals, late = [], 0
    while records:
        cut = rng.randint(1, 500)
        out = fold(state, records[:cut])
        assert not out.refused
        signals += out.signals
        late += len(out.late)
        del records[:cut]
    return signals, late


def price_log(case: str) -> list[Record]:
    return [Record(i, line) for i, line in enumerate(golden.lines(case, "prices"))]


@pytest.mark.parametrize("case", golden.CASES)
def test_signals_are_flinks_to_the_bit(case: str) -> None:
    """Job 1's rules give Flink's rows, every float equal, however the log is cut into chunks."""
    signals, _ = signals_in_chunks(case, random.Random(case))
    rows = [msgspec.to_builtins(timed.signal) for timed in signals]
    by_key = {(row["market_slug"], row["window_start"]): row for row in rows}
    assert len(by_key) == len(rows)
    assert by_key == golden.expected(case, "signals")


@pytest.mark.parametrize("case", golden.CASES)
def test_lags_are_flinks_to_the_bit(case: str) -> None:
    """Job 3's rules give Flink's rows, however signals and prices interleave."""
    rng = random.Random(case)
    signals, _ = signals_in_chunks(case, rng)
    prices = check_all(price_log(case))
    assert not prices.refused
    encode = msgspec.json.encode
    waiting = [
        (fold_signals, [Record(i, encode(s.signal)) for i, s in enumerate(signals)]),
        (fold_prices, [Record(i, encode(p.price)) for i, p in enumerate(prices.prices)]),
    ]
    state, rules, tracked = LagState(), LagRules(), Tracked()
    rows: dict[tuple[str, str], LagRow] = {}
    while waiting := [(rule, records) for rule, records in waiting if records]:
        rule, records = rng.choice(waiting)
        cut = rng.randint(1, 60)
        for timed in rule(state, records[:cut], rules, tracked).rows:
            key = timed.row.market, timed.row.window
            if key not in rows or timed.row.version > rows[key].version:
                rows[key] = timed.row
        del records[:cut]
    expected = golden.expected(case, "lags")
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        found = msgspec.structs.asdict(row)
        wanted = expected[key]
        assert found["rss_signal"] == wanted["source_weighted_signal"]
        assert {name: found[name] for name in wanted if name in found} == {
            name: value for name, value in wanted.items() if name in found
        }


@pytest.mark.parametrize("case", golden.CASES)
def test_the_plain_model_agrees_with_flink(case: str) -> None:
    """The model that other tests compare with is itself checked, late articles included."""
    signals = model.signals_of(rss_log(case))
    rows = model.rows_of(signals.emitted, price_log(case))
    expected = {
        (market, parse_ms(start)): row
        for (market, start), row in golden.expected(case, "lags").items()
    }
    assert rows.keys() == expected.keys()
    for key, wanted in expected.items():
        found = rows[key]
        for name in found.keys() & wanted.keys():
            assert found[name] == pytest.approx(wanted[name], abs=1e-12), name
    _, late = signals_in_chunks(case, random.Random(case))
    assert len(signals.late) == late
