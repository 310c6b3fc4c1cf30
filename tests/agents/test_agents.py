"""Each agent in process: a chunk in, exact records out."""

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from faust.types import TP

import agents.heartbeats
from agents.heartbeats import heartbeats
from agents.lag import lag
from agents.prices import prices
from agents.rss_signals import rss_signals
from marketlag.application import app, settings
from marketlag.engine.positions import Point
from marketlag.errors import EngineError
from marketlag.event_time import DAY, HOUR, MINUTE, format_ms
from marketlag.markets import Markets
from marketlag.records import Poll
from marketlag.rules.baseline import Baseline
from marketlag.rules.signals import RecoveryPoint
from marketlag.topics import (
    DLQ_MAX_BYTES,
    LAG_SIGNALS,
    POLLS,
    PRICE_HISTORY,
    PRICE_HOURLY,
    PRICE_NORMALIZED,
    RSS_EVENTS,
    RSS_LATE,
    RSS_SIGNALS,
    changelog,
    dlq,
)
from producers.state import SeenFact
from tables.price_hours import price_hours
from tables.rss_baseline import rss_baseline
from tables.rss_hours import rss_hours
from tables.rss_seen import rss_seen
from tests.agents.conftest import Bench
from tests.support.logs import ARRIVAL, Record, article, at, heartbeat, log, price, record
from tests.unit.test_lags import signal

TEN = at("10:00")

TP_HOURS = TP(changelog(settings, "rss_hours"), 0)


def clocks(time: int) -> str:
    """What Job 3 commits beside an offset, for partition 0."""
    return json.dumps({"0": time}, separators=(",", ":"))


async def test_job_1_sends_closed_windows_late_articles_and_refused_records(bench: Bench) -> None:
    """Each to its topic; what it declares is the recovery point."""
    bench.begin((RSS_EVENTS, Point(0)))
    declared = await bench.run(
        rss_signals,
        RSS_EVENTS,
        log(article(TEN), heartbeat(at("11:30")), article(TEN + 1), b"junk", article(at("11:40"))),
    )
    [closed] = bench.outbox.topic(RSS_SIGNALS)
    assert json.loads(closed.value or b"") == {
        "market_slug": "m",
        "window_start": "2025-01-01T10:00:00Z",
        "window_end": "2025-01-01T11:00:00Z",
        "mention_count": 1,
        "keyword_score": 1.0,
        "source_weighted_signal": 1.0,
        "source_weight_avg": 1.0,
    }
    assert (closed.key, closed.timestamp) == (b"m", ARRIVAL)
    [late] = bench.outbox.topic(RSS_LATE)
    assert late.headers == {"topic": b"rss.events", "partition": b"0", "offset": b"2"}
    [refused] = bench.outbox.topic(dlq(RSS_EVENTS))
    assert (refused.value, refused.headers["offset"]) == (b"junk", b"3")
    assert refused.headers["error"].startswith(b"not JSON")
    assert declared is not None
    assert declared.offset == 4
    assert RecoveryPoint.parse(declared.metadata).done == 5


async def test_job_1_goes_on_from_its_recovery_point(bench: Bench) -> None:
    """In a new generation the windows come back out of the log."""
    records = log(article(TEN), article(TEN + 1))
    bench.begin((RSS_EVENTS, Point(0)))
    declared = await bench.run(rss_signals, RSS_EVENTS, records)
    assert declared is not None
    bench.begin((RSS_EVENTS, declared))
    closing = record(2, heartbeat(at("12:00")))
    await bench.run(rss_signals, RSS_EVENTS, [*records[declared.offset :], closing])
    [closed] = bench.outbox.topic(RSS_SIGNALS)
    assert json.loads(closed.value or b"")["mention_count"] == 2


async def test_a_value_too_large_for_the_dlq_is_cut_and_marked(bench: Bench) -> None:
    """Its first two MiB, and its true size in a header."""
    bench.begin((RSS_EVENTS, Point(0)))
    size = 3 * 1024 * 1024
    await bench.run(rss_signals, RSS_EVENTS, [record(0, b"x" * size)])
    [refused] = bench.outbox.topic(dlq(RSS_EVENTS))
    assert len(refused.value or b"") == DLQ_MAX_BYTES
    assert refused.headers["truncated-from"] == str(size).encode()


async def test_job_2_keys_prices_by_market(bench: Bench) -> None:
    """With where it came from and its log's clock; the point is the next offset."""
    bench.begin((PRICE_HOURLY, Point(7)))
    chunk = log(price(TEN, 1.05, None), price(TEN, 1.7), start=7)
    assert await bench.run(prices, PRICE_HOURLY, chunk) == Point(9, str(TEN))
    [sent] = [each for each in bench.outbox.topic(PRICE_NORMALIZED) if each.key == b"m"]
    assert sent.headers == {
        "source-partition": b"0",
        "source-offset": b"7",
        "source-clock": str(TEN).encode(),
    }
    assert (json.loads(sent.value or b"")["price"]) == 1.0
    [stored] = bench.outbox.topic(PRICE_HISTORY)
    assert (stored.key, json.loads(stored.value or b"")) == (
        b"m|yes",
        {
            "market": "m",
            "outcome": "YES",
            "outcome_key": "yes",
            "hour": format_ms(TEN),
            "price": 1.0,
            "prev_price": None,
            "price_delta": 0.0,
            "stale": False,
            "fetched_at": format_ms(TEN + MINUTE),
            "version": [2, TEN + MINUTE, 7, 0],
        },
    )
    assert len(bench.outbox.topic(dlq(PRICE_HOURLY))) == 1


async def test_job_2_tells_every_partition_how_far_its_log_is(bench: Bench) -> None:
    """Once per step of its clock, after the prices; a restart goes on from the commit."""
    bench.begin((PRICE_HOURLY, Point(0)))
    beat = {"market_slug": "__heartbeat__", "event_time": format_ms(TEN + 5)}
    point = await bench.run(prices, PRICE_HOURLY, log(price(TEN - HOUR), record(1, beat, key=b"x")))
    assert point is not None
    told = [each for each in bench.outbox.topic(PRICE_NORMALIZED) if each.key == b"__heartbeat__"]
    assert len(told) == settings.partitions
    assert {each.value for each in told} == {msgspec.json.encode(beat)}
    bench.outbox.sent.clear()
    bench.begin((PRICE_HOURLY, point))
    await bench.run(prices, PRICE_HOURLY, log(price(TEN - HOUR), start=2))
    [sent] = bench.outbox.topic(PRICE_NORMALIZED)
    assert sent.headers["source-clock"] == str(TEN + 5).encode()


async def test_job_3_keeps_everything_until_every_price_log_has_told_its_clock(
    bench: Bench,
) -> None:
    """One that nobody has heard of may hold the oldest price of all."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    await bench.run(lag, RSS_SIGNALS, [Record(0, signal(TEN))])
    far = TEN + 40 * 24 * HOUR
    some = msgspec.json.encode(dict.fromkeys(range(settings.partitions - 1), far)).decode()
    bench.begin((RSS_SIGNALS, Point(1, clocks(far))), (PRICE_NORMALIZED, Point(1, some)))
    await bench.run(lag, RSS_SIGNALS, [Record(1, signal(far))])
    assert [start for _, start, _ in rss_hours.facts(0)] == [TEN, far]


async def test_job_3_joins_and_keeps_facts(bench: Bench) -> None:
    """Signal first, price later: two versions of the row; both facts are in their tables."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    declared = await bench.run(lag, RSS_SIGNALS, [Record(0, signal(TEN, 2.0))])
    assert declared == Point(1, clocks(TEN))
    await bench.run(lag, PRICE_NORMALIZED, log(price(TEN, 0.4)))
    rows = [json.loads(each.value or b"") for each in bench.outbox.topic(LAG_SIGNALS)]
    assert [row["price"] for row in rows] == [None, 0.4]
    assert rows[0]["version"] < rows[1]["version"]
    assert [(m, s, f.signal) for m, s, f in rss_hours.facts(0)] == [("m", TEN, 2.0)]
    assert [(m, s, f.price) for m, s, f in price_hours.facts(0)] == [("m", TEN, 0.4)]
    assert [(m, s, b.count) for m, s, b in rss_baseline.facts(0)] == [("m", TEN - DAY, 0)]
    keys = [msgspec.json.decode(message.key) for message in bench.outbox.changelog]
    hour = ["m", [TEN / 1000, TEN / 1000 + 3599.9]]
    assert keys == [hour, ["m", [(TEN - DAY) / 1000, TEN / 1000 - 0.1]], hour]


async def test_job_3_rebuilds_its_index_from_the_tables(bench: Bench) -> None:
    """In a new generation LAG goes on, and the price is still there."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    await bench.run(lag, RSS_SIGNALS, [Record(0, signal(TEN, 2.0))])
    await bench.run(lag, PRICE_NORMALIZED, log(price(TEN + HOUR, 0.4)))
    bench.begin(
        (RSS_SIGNALS, Point(1, clocks(TEN))), (PRICE_NORMALIZED, Point(1, clocks(TEN + HOUR)))
    )
    await bench.run(lag, RSS_SIGNALS, [Record(1, signal(TEN + HOUR, 5.0))])
    row = json.loads(bench.outbox.topic(LAG_SIGNALS)[-1].value or b"")
    assert (row["window"], row["signal_delta"], row["price"]) == (format_ms(TEN + HOUR), 3.0, 0.4)


async def test_job_3_judges_a_price_that_comes_later_by_the_baseline_it_kept(
    bench: Bench,
) -> None:
    """The hopping window of each row is in its table, and comes back with the others."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    hours = [TEN + n * HOUR for n in range(4)]
    values = [1.0, 2.0, 3.0, 9.0]
    signals = [Record(n, signal(hours[n], values[n])) for n in range(4)]
    await bench.run(lag, RSS_SIGNALS, signals)
    kept = {start + DAY: baseline for _, start, baseline in rss_baseline.facts(0)}
    assert [kept[hour].count for hour in hours] == [0, 1, 2, 3]
    assert kept[hours[3]] == Baseline(3, 2.0, (2 / 3) ** 0.5, mentions=4)
    bench.begin((RSS_SIGNALS, Point(4, clocks(hours[3]))), (PRICE_NORMALIZED, Point(0)))
    await bench.run(lag, PRICE_NORMALIZED, log(price(hours[3], 0.4)))
    rows = [json.loads(each.value or b"") for each in bench.outbox.topic(LAG_SIGNALS)]
    assert rows[-1]["price"] == 0.4
    assert rows[-1]["signal_zscore"] == rows[3]["signal_zscore"] == 7.0 / (2 / 3) ** 0.5


async def test_job_3_deletes_what_both_committed_clocks_have_passed(bench: Bench) -> None:
    """From RocksDB, and from the changelog by tombstones."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    await bench.run(lag, RSS_SIGNALS, [Record(0, signal(TEN))])
    await bench.run(lag, PRICE_NORMALIZED, log(price(TEN)))
    far = TEN + 40 * 24 * HOUR
    all_far = msgspec.json.encode(dict.fromkeys(range(settings.partitions), far)).decode()
    bench.begin((RSS_SIGNALS, Point(1, clocks(far))), (PRICE_NORMALIZED, Point(1, all_far)))
    bench.outbox.changelog.clear()
    await bench.run(lag, RSS_SIGNALS, [Record(1, signal(far))])
    assert [start for _, start, _ in rss_hours.facts(0)] == [far]
    assert [start for _, start, _ in rss_baseline.facts(0)] == [far - DAY]
    assert list(price_hours.facts(0)) == []
    assert [message.value for message in bench.outbox.changelog].count(None) == 3


async def test_a_damaged_table_is_not_read_in_part(bench: Bench) -> None:
    """RocksDB's iterator just ends there; half the facts would give wrong rows."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    many = [Record(n, signal(TEN, market=f"market-{n:05}")) for n in range(2_000)]
    await bench.run(lag, RSS_SIGNALS, many)
    store: Any = rss_hours.data
    store._db_for_partition(0).flush()
    store._close([0])
    [path] = store.partition_path(0).glob("*.sst")
    content = bytearray(path.read_bytes())
    content[len(content) // 3 : len(content) // 3 + 2_000] = b"\0" * 2_000
    path.write_bytes(content)
    with pytest.raises(EngineError, match="the next start rebuilds it from the changelog"):
        list(rss_hours.facts(0))
    assert list(rss_hours.facts(0)) == []


@pytest.mark.parametrize(
    ("earliest", "highwater", "next_younger", "kept"),
    [
        (0, 9, {TP_HOURS: 6}, True),
        (0, 5, {}, True),
        (0, 9, {TP_HOURS: 0}, False),  # another log, that has grown past our offset
        (0, 3, {}, False),  # another log, or one that lost its end
        (8, 9, {TP_HOURS: 8}, False),  # records between were cut
    ],
)
async def test_local_state_is_kept_only_with_the_changelog_that_it_came_from(
    bench: Bench, earliest: int, highwater: int, next_younger: dict[TP, int], kept: bool
) -> None:
    """It ends at offset 5: the first younger record has to come after that."""
    bench.begin((RSS_SIGNALS, Point(0)), (PRICE_NORMALIZED, Point(0)))
    await bench.run(lag, RSS_SIGNALS, [Record(0, signal(TEN))])
    store: Any = rss_hours.data
    store.mark(0, 5, ARRIVAL)

    class Kafka:
        async def earliest_offsets(self, *tps: TP) -> dict[TP, int]:
            return dict.fromkeys(tps, earliest)

        async def offsets_after(self, times: dict[TP, int]) -> dict[TP, int]:
            assert times == {TP_HOURS: ARRIVAL}
            return next_younger

    recovery: Any = app.tables.recovery
    recovery.tp_to_table[TP_HOURS] = rss_hours
    recovery.active_highwaters[TP_HOURS] = highwater
    offsets = {TP_HOURS: store.persisted_offset(TP_HOURS)}
    await recovery._build_offsets(Kafka(), {TP_HOURS}, offsets, "active")
    assert len(list(rss_hours.facts(0))) == (1 if kept else 0)
    assert offsets[TP_HOURS] == (5 if kept else earliest - 1)


async def test_heartbeats_go_to_every_partition_of_both_inputs(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FEED_DELAY behind the least of the feeds, in the shape of an article; prices at their hour.

    What it declares is the oldest of the newest polls.
    """
    found = Markets.model_validate(
        {"market": [{"slug": "m", "feeds": ["https://a/", "https://b/"]}]}
    )
    monkeypatch.setattr(agents.heartbeats, "markets", found)
    monkeypatch.setattr(settings, "feed_delay", timedelta(minutes=10))
    polls = [
        Poll(kind, source, format_ms(polled), format_ms(answered), format_ms(answered))
        for kind, source, polled, answered in (
            ("rss", "https://a/", TEN, TEN),
            ("prices", "m", TEN + MINUTE, TEN),
            ("rss", "https://b/", TEN + MINUTE, TEN + MINUTE),
        )
    ]
    records = [Record(offset, msgspec.json.encode(poll)) for offset, poll in enumerate(polls)]
    bench.begin((POLLS, Point(0)))
    assert await bench.run(heartbeats, POLLS, records) == Point(0)
    sent = bench.outbox.topic(RSS_EVENTS)
    assert [each.key for each in sent] == [b"__heartbeat__"] * 3
    assert {each.value for each in sent} == {
        (
            b'{"market_slug":"__heartbeat__","title":"","link":"",'
            b'"published_at":"2025-01-01T09:50:00Z","source_weight":0.0,"keyword_score":0.0}'
        )
    }
    assert {each.value for each in bench.outbox.topic(PRICE_HOURLY)} == {
        b'{"market_slug":"__heartbeat__","event_time":"2025-01-01T10:00:00Z"}'
    }


async def test_a_keyed_table_keeps_facts_of_a_partition_without_a_chunk(bench: Bench) -> None:
    """In RocksDB and in the changelog, each in the partition that was named."""
    fact = SeenFact(last_seen=1)
    rss_seen.put(0, "feed", "x", fact=fact)
    assert rss_seen.fact(0, "feed", "x") == fact
    assert list(rss_seen.facts(0)) == [(("feed", "x"), fact)]
    rss_seen.delete(0, "feed", "x")
    assert rss_seen.fact(0, "feed", "x") is None
    assert [(m.partition, m.key, m.value) for m in bench.outbox.changelog] == [
        (0, b'["feed","x"]', b'{"last_seen":1}'),
        (0, b'["feed","x"]', None),
    ]
