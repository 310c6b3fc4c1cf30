"""The log of the benchmarks: what all contenders are compared with is what the rule gives."""

from collections import defaultdict

from bench.contest import expected_signals
from bench.workload import Load, is_closing, records
from marketlag.event_time import HOUR, MINUTE, parse_ms
from marketlag.rules.signals import SignalState, fold
from tests.support.logs import Record

LOAD = Load(12_000, markets=20, partitions=3, hours=6)


def test_the_expected_signals_are_those_of_the_rule() -> None:
    """To the last bit, and 2 % of the articles are late for it."""
    logs: dict[int, list[Record]] = defaultdict(list)
    for each in records(LOAD):
        log = logs[each.partition]
        log.append(Record(len(log), each.value, each.key, each.timestamp))
    found, late = {}, 0
    for log in logs.values():
        out = fold(SignalState(size=HOUR, delay=5 * MINUTE), log)
        assert out.refused == []
        late += len(out.late)
        for signal in (timed.signal for timed in out.signals):
            assert not is_closing(signal.market_slug)
            found[signal.market_slug, parse_ms(signal.window_start) // HOUR] = (
                signal.mention_count,
                signal.keyword_score,
                signal.source_weighted_signal,
                signal.source_weight_avg,
            )
    assert found == expected_signals(LOAD)
    assert 0.015 < late / LOAD.events < 0.025


def test_every_call_gives_the_same_log() -> None:
    assert list(records(LOAD)) == list(records(LOAD))
