-- Not what it says: with a watermark on both sides the equality of two times makes the LEFT JOIN an
-- interval join. A row without a price then waits until the prices' watermark has passed its hour;
-- where prices stop, it never comes.
-- Works: tables without watermarks, as in tables.sql.

CREATE TABLE signals (market_slug STRING, window_start TIMESTAMP_LTZ(3), signal DOUBLE,
    WATERMARK FOR window_start AS window_start) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/signals.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE prices (market_slug STRING, event_time TIMESTAMP_LTZ(3), price DOUBLE,
    WATERMARK FOR event_time AS event_time) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/prices.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

EXPLAIN
SELECT s.market_slug, s.window_start, s.signal, p.price
FROM signals AS s
LEFT JOIN prices AS p ON p.market_slug = s.market_slug AND p.event_time = s.window_start;
