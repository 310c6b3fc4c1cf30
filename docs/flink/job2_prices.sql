-- Job 2: prices checked, clamped, and keyed by their market (the key is the table's).

INSERT INTO price_normalized
SELECT
    market_slug,
    outcome,
    -- A little outside of [0, 1] is rounding at the source.
    LEAST(GREATEST(price, 0E0), 1E0),
    prev_price,
    COALESCE(price_delta, 0E0),
    event_time,
    COALESCE(fetched_at, event_time),
    COALESCE(stale, FALSE)
FROM price_hourly
-- A null compares as unknown, so what lacks a field falls out here, and so does a heartbeat,
-- which has no price.
WHERE price BETWEEN -0.1E0 AND 1.1E0
    AND event_time = FLOOR(event_time TO HOUR)
    AND market_slug <> ''
    AND outcome <> '';
