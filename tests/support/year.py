"""A year of rows for many markets, made by Postgres itself: the same at every run."""

from tests.support.services import query

#: One window in fifty is flagged, which is more than real feeds give.
_FILL = (
    """
    INSERT INTO lag_signals_history (
        market, "window", outcome, signal_delta, price_delta, lag_flag, confidence, rss_signal,
        prev_rss_signal, max_signal_delta, signal_zscore, price, prev_price, stale, mention_count,
        keyword_score, source_weight_avg, detected_at, version
    )
    SELECT
        'market-' || market, hour, 'Yes', dice / 50.0 - 1, 0.001 * (dice % 40), dice >= 98,
        dice / 100.0, dice / 25.0, dice / 30.0, 4, dice / 20.0 - 2, 0.5, 0.5, false, 1 + dice % 7,
        dice / 10.0, 0.8, hour + interval '65 minutes' + market * interval '20 ms',
        ARRAY[extract(epoch FROM hour)::bigint, 2, 0, 0]
    FROM generate_series($2::int * 24, 1, -1) AS ago,
        generate_series(1, $1::int) AS market,
        LATERAL (
            SELECT date_trunc('hour', now()) - ago * interval '1 hour' AS hour,
                abs(hashint8(market::bigint * 1000003 + ago)) % 100 AS dice
        ) AS thrown
    """,
    """
    INSERT INTO price_hourly (
        market, outcome, outcome_key, hour, price, prev_price, price_delta, stale, fetched_at,
        version
    )
    SELECT 'market-' || market, 'Yes', 'yes', hour, 0.5, 0.5, 0, false, hour + interval '1 minute',
        ARRAY[2, extract(epoch FROM hour)::bigint, ago]
    FROM generate_series($2::int * 24, 1, -1) AS ago,
        generate_series(1, $1::int) AS market,
        LATERAL (SELECT date_trunc('hour', now()) - ago * interval '1 hour' AS hour) AS at
    """,
)


def fill(dsn: str, *, markets: int, days: int) -> int:
    """Rows of every hour up to now, in both tables; returns how many each has.

    Hour by hour, as they are written when they happen; vacuumed and analyzed, as autovacuum leaves
    tables that are written day by day.
    """
    for statement in _FILL:
        query(dsn, statement, markets, days)
    for table in ("lag_signals_history", "price_hourly"):
        query(dsn, f"VACUUM (ANALYZE) {table}")
    return markets * days * 24
