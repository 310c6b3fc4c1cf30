"""One market over time: signal, price, flags, and what the price did after them."""

from typing import Any

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import (
    CALM,
    FLAG,
    HALF,
    POSTGRES,
    PRICE,
    bars,
    board,
    line,
    marks,
    sql_bars,
    sql_series,
    sql_table,
)

# The primary key is asked for one market after the other: reading every row for its market would
# take seconds.
MARKETS = """
    WITH RECURSIVE found AS (
        (SELECT market FROM lag_signals_history ORDER BY market LIMIT 1)
        UNION ALL
        SELECT (
            SELECT next.market FROM lag_signals_history AS next
            WHERE next.market > found.market ORDER BY next.market LIMIT 1
        )
        FROM found WHERE found.market IS NOT NULL
    )
    SELECT market FROM found WHERE market IS NOT NULL
"""
MARKET = "market = ${market:sqlstring}"


def build() -> Any:
    made = board(
        "marketlag-history",
        "MarketLag: history",
        "A market's signal and price over time, and how often its flags were right.",
        "now-30d",
        [("$market", _market()), ("What followed", _outcomes())],
    )
    made.with_variable(
        dashboard.QueryVariable("market")
        .label("Market")
        .datasource(POSTGRES)
        .query(" ".join(MARKETS.split()))
    )
    made.with_variable(
        dashboard.TextBoxVariable("move").label("A move is at least").default_value("0.02")
    )
    return made


def _market() -> list[Any]:
    return [
        sql_series(
            "Signal, price and flags",
            "The signal on the left, the price on the right; a mark is a flagged hour, faint where "
            "there was no fresh price.",
            f"""
            SELECT "window" AS time, rss_signal AS signal, price,
                CASE WHEN lag_flag AND stale IS FALSE THEN price END AS flagged,
                CASE WHEN lag_flag AND stale IS NOT FALSE THEN coalesce(price, 0) END AS unsure
            FROM lag_signals_history
            WHERE {MARKET} AND $__timeFilter("window")
            ORDER BY "window"
            """,
            styles={
                "signal": bars(CALM),
                "price": line(PRICE, right=True),
                "flagged": marks(FLAG, right=True),
                "unsure": marks("text", right=True),
            },
        ),
        sql_series(
            "Prices of all outcomes",
            "Hour by hour, also where there was no news.",
            f"""
            SELECT hour AS time, outcome AS metric, price FROM price_hourly
            WHERE {MARKET} AND $__timeFilter(hour)
            ORDER BY hour
            """,
            width=HALF,
        ),
        sql_series(
            "The jump, and how unusual it is",
            "The change of the signal, and its z-score against the 24 hours before.",
            f"""
            SELECT "window" AS time, signal_delta, signal_zscore FROM lag_signals_history
            WHERE {MARKET} AND $__timeFilter("window")
            ORDER BY "window"
            """,
            width=HALF,
            styles={"signal_zscore": line("orange", right=True)},
        ),
    ]


def _later(hours: int) -> str:
    """The fresh price so many hours after a flag's hour, less the flag's price; null if unknown."""
    return f"""(
        SELECT later.price - flag.price FROM price_hourly AS later
        WHERE later.market = flag.market AND later.outcome_key = lower(flag.outcome)
            AND later.hour = date_trunc('hour', flag."window") + interval '{hours} hours'
            AND NOT later.stale
    )"""


def _outcomes() -> list[Any]:
    flags = """
        FROM lag_signals_history AS flag
        WHERE flag.lag_flag AND flag.stale IS FALSE AND $__timeFilter(flag.detected_at)
    """
    return [
        sql_table(
            "This market's flags, and what the price did then",
            "The move since the flag's price after so many hours, where somebody gave a price; at "
            "the end the newest price known, 0 or 1 once the market is resolved.",
            f"""
            SELECT flag."window", flag.outcome, flag.confidence, flag.signal_delta, flag.price,
                {_later(1)} AS "+1 h", {_later(6)} AS "+6 h", {_later(24)} AS "+24 h",
                (
                    SELECT newest.price FROM price_hourly AS newest
                    WHERE newest.market = flag.market AND NOT newest.stale
                        AND newest.outcome_key = lower(flag.outcome)
                    ORDER BY newest.hour DESC LIMIT 1
                ) AS newest
            {flags} AND flag.{MARKET}
            ORDER BY flag."window" DESC
            LIMIT 500
            """,
        ),
        sql_bars(
            "How often the price moved after a flag",
            "Flags of this market whose later price is known, and those that moved by at least "
            "$move either way.",
            _moved(f"{flags} AND flag.{MARKET}"),
            category="after",
        ),
        sql_bars(
            "The same for all markets",
            "Flags of all markets in the chosen time.",
            _moved(flags),
            category="after",
        ),
    ]


def _moved(flags: str) -> str:
    return f"""
        SELECT later.after, count(later.moved) AS known,
            count(*) FILTER (WHERE abs(later.moved) >= ${{move:sqlstring}}::float8) AS moved
        FROM (SELECT {_later(1)} AS h1, {_later(6)} AS h6, {_later(24)} AS h24 {flags}) AS judged,
            LATERAL (VALUES ('1 h', 1, h1), ('6 h', 2, h6), ('24 h', 3, h24))
                AS later (after, place, moved)
        GROUP BY later.after, later.place ORDER BY later.place
    """
