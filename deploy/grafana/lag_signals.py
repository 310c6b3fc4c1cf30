"""What was flagged: how much, how sure, and where the flags lie among all hours."""

from typing import Any

from deploy.grafana.panels import (
    CALM,
    FLAG,
    bars,
    board,
    sql_histogram,
    sql_scatter,
    sql_series,
    sql_stat,
    sql_table,
)

FRESH = "price IS NOT NULL AND stale IS FALSE"


def build() -> Any:
    return board(
        "marketlag-lags",
        "MarketLag: lag signals",
        "Hours in which news about a market jumped and its price did not.",
        "now-7d",
        [("The last 24 hours", _last_day()), ("Over time", _over_time())],
    )


def _last_day() -> list[Any]:
    return [
        sql_stat(
            "Flagged",
            "Rows flagged in the last 24 hours, where a price really stood still.",
            f"""
            SELECT count(*) FROM lag_signals_history
            WHERE lag_flag AND detected_at >= now() - interval '24 hours' AND {FRESH}
            """,
        ),
        sql_stat(
            "Without a fresh price",
            "Rows flagged in the last 24 hours where nobody gave a price in that hour: they say "
            "little.",
            f"""
            SELECT count(*) FROM lag_signals_history
            WHERE lag_flag AND detected_at >= now() - interval '24 hours' AND NOT ({FRESH})
            """,
        ),
        sql_stat(
            "Markets flagged",
            "Markets with a flag in the last 24 hours.",
            """
            SELECT count(DISTINCT market) FROM lag_signals_history
            WHERE lag_flag AND detected_at >= now() - interval '24 hours'
            """,
        ),
        sql_stat(
            "Highest confidence",
            "Of the last 24 hours.",
            """
            SELECT max(confidence) FROM lag_signals_history
            WHERE lag_flag AND detected_at >= now() - interval '24 hours'
            """,
        ),
        sql_stat(
            "Hours looked at",
            "Windows with articles, of all markets, in the last 24 hours.",
            """
            SELECT count(*) FROM lag_signals_history
            WHERE "window" >= now() - interval '24 hours'
            """,
        ),
        sql_table(
            "Flagged in the last 24 hours",
            "The newest first.",
            """
            SELECT detected_at, market, "window", outcome, signal_delta, signal_zscore, price,
                price_delta, confidence, mention_count, stale
            FROM lag_signals_history
            WHERE lag_flag AND detected_at >= now() - interval '24 hours'
            ORDER BY detected_at DESC, market
            LIMIT 500
            """,
        ),
    ]


def _over_time() -> list[Any]:
    return [
        sql_series(
            "Flagged an hour",
            "By the hour in which the row was complete.",
            f"""
            SELECT date_trunc('hour', detected_at) AS time,
                count(*) FILTER (WHERE {FRESH}) AS "the price stood still",
                count(*) FILTER (WHERE NOT ({FRESH})) AS "stale or no price"
            FROM lag_signals_history
            WHERE lag_flag AND $__timeFilter(detected_at)
            GROUP BY 1 ORDER BY 1
            """,
            styles={
                "the price stood still": bars(FLAG, stacked=True),
                "stale or no price": bars("text", stacked=True),
            },
        ),
        sql_histogram(
            "Confidence",
            "Of the flagged rows.",
            """
            SELECT confidence FROM lag_signals_history
            WHERE lag_flag AND $__timeFilter(detected_at)
            """,
            bucket=0.05,
        ),
        sql_scatter(
            "Signal delta against price delta",
            "The newest 5,000 windows with a fresh price. Flags lie far right and near zero.",
            f"""
            SELECT signal_delta,
                CASE WHEN lag_flag THEN price_delta END AS "flagged",
                CASE WHEN NOT lag_flag THEN price_delta END AS "not flagged"
            FROM lag_signals_history
            WHERE $__timeFilter("window") AND signal_delta IS NOT NULL AND {FRESH}
            ORDER BY "window" DESC
            LIMIT 5000
            """,
            {"flagged": FLAG, "not flagged": CALM},
        ),
        sql_table(
            "Markets by flags",
            "Of the chosen time.",
            """
            SELECT market, count(*) AS flags, max(confidence) AS highest_confidence,
                max("window") AS newest
            FROM lag_signals_history
            WHERE lag_flag AND $__timeFilter(detected_at)
            GROUP BY market ORDER BY flags DESC, market LIMIT 100
            """,
            width=8,
        ),
    ]
