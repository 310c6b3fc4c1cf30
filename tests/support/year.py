"""A year of rows for many markets, made by Postgres itself: the same at every run."""

from tests.support.services import query

#: One window in fifty is flagged, which is more than real feeds give. One in eleven has a stale
#: price, one in thirteen has none.
_FILL = (
    """
    INSERT INTO lag_signals_history (
        market, "window", outcome, signal_delta, price_delta, lag_flag, confidence, rss_signal,
        prev_rss_signal, max_signal_delta, signal_zscore, price, prev_price, stale, mention_count,
        keyword_score, source_weight_avg, detected_at, version
    )
    SELECT
        'market-' || market, hour, 'Yes', dice / 50.0 - 1, 0.001 * (dice % 40), dice >= 98,
        dice / 100.0, dice / 25.0, dice / 30.0, 4, dice / 20.0 - 2,
        CASE WHEN ago % 13 > 0 THEN 0.46 + 0.01 * ((ago * 7 + market) % 9) END, 0.5,
        CASE WHEN ago % 13 > 0 THEN ago % 11 = 0 END, 1 + dice % 7,
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
    SELECT 'market-' || market, 'Yes', 'yes', hour, 0.46 + 0.01 * ((ago * 7 + market) % 9), 0.5, 0,
        ago % 11 = 0, hour + interval '1 minute', ARRAY[2, extract(epoch FROM hour)::bigint, ago]
    FROM generate_series($2::int * 24, 1, -1) AS ago,
        generate_series(1, $1::int) AS market,
        LATERAL (SELECT date_trunc('hour', now()) - ago * interval '1 hour' AS hour) AS at
    """,
)
#: A feed for every ten markets, polled every 15 minutes, for as long as these rows are kept.
_FETCHES = """
    INSERT INTO api_health_log (source, status, response_time_ms, error_message, logged_at)
    SELECT 'https://feed-' || feed || '.example.org/rss',
        CASE WHEN dice = 0 THEN 'failed' WHEN dice < 9 THEN 'not_modified' ELSE 'ok' END,
        20 + dice * 11, CASE WHEN dice = 0 THEN 'no answer within 20 s' END,
        now() - ago * interval '15 minutes'
    FROM generate_series($2::int * 96, 1, -1) AS ago,
        generate_series(1, $1::int / 10) AS feed,
        LATERAL (SELECT abs(hashint8(feed::bigint * 1000003 + ago)) % 40 AS dice) AS thrown
"""
HEALTH_DAYS = 30


def fill(dsn: str, *, markets: int, days: int) -> int:
    """Rows of every hour up to now, and a month of fetches; returns how many windows there are.

    Hour by hour, as they are written when they happen; vacuumed and analyzed, as autovacuum leaves
    tables that are written day by day.
    """
    for statement in _FILL:
        query(dsn, statement, markets, days)
    query(dsn, _FETCHES, markets, min(days, HEALTH_DAYS))
    for table in ("lag_signals_history", "price_hourly", "api_health_log"):
        query(dsn, f"VACUUM (ANALYZE) {table}")
    return markets * days * 24
