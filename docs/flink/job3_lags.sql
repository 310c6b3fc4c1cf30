-- Job 3: signals and prices to lag rows.
--
-- LAG and MAX come before the join: the signals are only ever appended, and an OVER window takes
-- nothing else. The join comes last, since it replaces rows when a price arrives.

CREATE TEMPORARY VIEW deltas AS
SELECT
    *,
    source_weighted_signal - prev_signal AS signal_delta
FROM (
    SELECT
        *,
        -- The market's previous window that had articles, null for its first. By arrival: by event
        -- time, a row would wait for the watermark that only a later window's row can bring.
        LAG(source_weighted_signal) OVER (PARTITION BY market_slug ORDER BY arrived) AS prev_signal
    FROM rss_signals_hourly
);

CREATE TEMPORARY VIEW jumps AS
SELECT
    *,
    -- The largest jump so far, this one included, and at least 0.
    MAX(CASE WHEN signal_delta > 0E0 THEN signal_delta ELSE 0E0 END)
        OVER (PARTITION BY market_slug ORDER BY arrived) AS max_signal_delta
FROM deltas;

-- One price for an hour, the latest.
CREATE TEMPORARY VIEW yes_prices AS
SELECT market_slug, event_time, price, prev_price, price_delta, stale
FROM (
    SELECT
        *,
        ROW_NUMBER() OVER (PARTITION BY market_slug, event_time ORDER BY fetched_at DESC) AS place
    FROM price_normalized
    -- A heartbeat has no outcome, so it stays out.
    WHERE UPPER(outcome) = 'YES'
)
WHERE place = 1;

INSERT INTO lag_signals
SELECT
    market_slug,
    window_start,
    'YES',
    signal_delta,
    price_delta,
    -- Where there is no delta, unknown; that is no lag.
    COALESCE(signal_delta > 1E0, FALSE) AND ABS(price_delta) < 0.02E0,
    -- Of a jump the share of the largest: 0 for a first window, for none and for a fall.
    0.5E0 * CASE WHEN signal_delta > 0E0 THEN signal_delta / max_signal_delta ELSE 0E0 END
        + 0.3E0 * GREATEST(0E0, 1E0 - ABS(price_delta))
        + 0.2E0 * LEAST(1E0, GREATEST(0E0, source_weight_avg)),
    source_weighted_signal,
    prev_signal,
    max_signal_delta,
    price,
    prev_price,
    stale,
    mention_count,
    keyword_score,
    source_weight_avg
FROM (
    SELECT
        s.market_slug, s.window_start, s.mention_count, s.keyword_score, s.source_weighted_signal,
        s.source_weight_avg, s.prev_signal, s.signal_delta, s.max_signal_delta,
        p.price, p.prev_price, p.stale,
        -- Without a price nothing is known to have moved.
        COALESCE(p.price_delta, 0E0) AS price_delta
    FROM jumps AS s
    LEFT JOIN yes_prices AS p
        ON p.market_slug = s.market_slug AND p.event_time = s.window_start
);
