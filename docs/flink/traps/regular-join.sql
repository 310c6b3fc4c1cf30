-- As interval-join.sql, without watermarks: a regular join, which gives the row at once and
-- replaces it when the price comes.

CREATE TABLE signals (market_slug STRING, window_start TIMESTAMP_LTZ(3), signal DOUBLE) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/signals.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE prices (market_slug STRING, event_time TIMESTAMP_LTZ(3), price DOUBLE) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/prices.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

EXPLAIN
SELECT s.market_slug, s.window_start, s.signal, p.price
FROM signals AS s
LEFT JOIN prices AS p ON p.market_slug = s.market_slug AND p.event_time = s.window_start;
