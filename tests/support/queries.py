"""The queries of the original Grafana dashboards, and how Postgres answers them."""

from tests.support.services import query

QUERIES = {
    "flagged hours, counted": """
        SELECT date_trunc('hour', detected_at) AS hour, COUNT(*) FROM lag_signals_history
        WHERE lag_flag = true GROUP BY 1 ORDER BY 1
    """,
    "flagged in the last 24 hours": """
        SELECT market, "window", signal_delta, price_delta, confidence, detected_at
        FROM lag_signals_history
        WHERE lag_flag = true AND detected_at >= now() - interval '24 hours'
        ORDER BY detected_at DESC
    """,
    "a market's signal and price over a month": """
        SELECT "window", rss_signal, price, lag_flag FROM lag_signals_history
        WHERE market = 'market-7' AND "window" >= now() - interval '30 days'
        ORDER BY "window"
    """,
    "a market's signals over a month": """
        SELECT "window", source_weighted_signal FROM rss_signals_hourly
        WHERE market = 'market-7' AND "window" >= now() - interval '30 days'
        ORDER BY "window"
    """,
    "a market's prices over a month": """
        SELECT hour, outcome, price FROM price_hourly
        WHERE market = 'market-7' AND hour >= now() - interval '30 days'
        ORDER BY hour
    """,
}


def plan(dsn: str, sql: str, *, analyze: bool = False) -> list[str]:
    """The lines of EXPLAIN."""
    explain = "EXPLAIN (ANALYZE, BUFFERS)" if analyze else "EXPLAIN"
    return [str(line[0]) for line in query(dsn, f"{explain} {sql}")]
