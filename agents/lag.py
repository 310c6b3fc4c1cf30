"""JOB 3: signals joined with hourly prices; the jump without a move is a lag.

``rss.signals_hourly`` and ``polymarket.price_normalized`` -> ``lag_signals``. The rules are
``marketlag.rules.lags``; the facts are in ``tables/rss_hours.py``, ``tables/rss_baseline.py`` and
``tables/price_hours.py``.
"""

import msgspec
from faust.types import TP, StreamT

from marketlag import metrics
from marketlag.application import app, markets, settings
from marketlag.engine.chunk import Chunk, PerPartition, where
from marketlag.event_time import BEGINNING
from marketlag.rules.baseline import BASELINE_MS
from marketlag.rules.facts import LagState, expire
from marketlag.rules.lags import LagOutputs, Tracked, fold_prices, fold_signals
from marketlag.topics import LAG_SIGNALS, PRICE_NORMALIZED, RSS_SIGNALS
from tables.price_hours import price_hours
from tables.rss_baseline import rss_baseline
from tables.rss_hours import rss_hours

rules = settings.lag_rules
tracked = Tracked(markets.tracked_outcomes)


#: A commit's metadata: the clocks (ms) of the logs behind it, by their partition.
decode_clocks = msgspec.json.Decoder(dict[int, int]).decode


def committed_clocks(topic: str, partition: int) -> dict[int, int]:
    """The clocks of the topic's logs at what the group has committed (ms)."""
    point = app.reader.positions.committed(TP(topic, partition))
    return decode_clocks(point.metadata) if point and point.metadata else {}


def open_facts(chunk: Chunk) -> LagState:
    """The recovered tables, indexed; the clocks as committed."""
    partition = chunk.partition
    state = LagState(
        signal_clock=committed_clocks(RSS_SIGNALS, partition).get(partition, BEGINNING),
        price_clocks=committed_clocks(PRICE_NORMALIZED, partition),
    )
    for market, _, hour in rss_hours.facts(partition):
        state.load_hour(market, hour)
    for market, start, baseline in rss_baseline.facts(partition):
        state.load_baseline(market, start + BASELINE_MS, baseline)
    for market, start, price in price_hours.facts(partition):
        state.load_price(market, start, price)
    return state


partitions = PerPartition(open_facts)


@app.job(
    "lag",
    reads=[RSS_SIGNALS, PRICE_NORMALIZED],
    writes=[LAG_SIGNALS],
    tables=[rss_hours, rss_baseline, price_hours],
)
async def lag(chunks: StreamT[Chunk]) -> None:
    """Write the facts, send the rows they change, declare the topic's clock."""
    async for chunk in chunks:
        with chunk:
            state = partitions[chunk]
            drop_expired(state, chunk.partition)
            if chunk.topic == RSS_SIGNALS:
                out = fold_signals(state, chunk.records, rules, tracked)
                clocks = {chunk.partition: state.signal_clock}
            else:
                out = fold_prices(state, chunk.records, rules, tracked)
                clocks = state.price_clocks
            keep_facts(chunk.partition, out)
            await app.sender.room()
            for timed in out.rows:
                await app.sender.publish(
                    LAG_SIGNALS,
                    msgspec.json.encode(timed.row),
                    key=timed.row.market.encode(),
                    timestamp_ms=timed.timestamp,
                )
            for refused in out.refused:
                app.log.error(
                    "a record is not ours and is passed over: %s",
                    refused.reason,
                    extra=where(chunk, refused.record.offset),
                )
            if out.late:
                app.log.warning(
                    "%s records are older than the state kept, and change nothing",
                    out.late,
                    extra=where(chunk, chunk.start),
                )
            measure(out)
            chunk.lease.advance(chunk.end, msgspec.json.encode(clocks).decode())


def measure(out: LagOutputs) -> None:
    flagged = sum(timed.row.lag_flag for timed in out.rows)
    metrics.LAG_ROWS.labels("true").inc(flagged)
    metrics.LAG_ROWS.labels("false").inc(len(out.rows) - flagged)
    metrics.RECORDS_LATE.labels("lag").inc(out.late)


def keep_facts(partition: int, out: LagOutputs) -> None:
    rss_hours.put_all(partition, out.hours)
    baselines = {(market, end - BASELINE_MS): fact for (market, end), fact in out.baselines.items()}
    rss_baseline.put_all(partition, baselines)
    price_hours.put_all(partition, out.prices)


def drop_expired(state: LagState, partition: int) -> None:
    """Delete what the committed clocks of all logs have passed.

    A partition of ``polymarket.price_hourly`` that nobody has told of yet may hold the oldest price
    of all.
    """
    signals = committed_clocks(RSS_SIGNALS, partition).values()
    prices = committed_clocks(PRICE_NORMALIZED, partition).values()
    if not signals or len(prices) < settings.partitions:
        return
    expired = expire(state, min(*signals, *prices), rules.ttl)
    rss_hours.delete_all(partition, expired.hours)
    rss_baseline.delete_all(
        partition, [(market, end - BASELINE_MS) for market, end in expired.baselines]
    )
    price_hours.delete_all(partition, expired.prices)
