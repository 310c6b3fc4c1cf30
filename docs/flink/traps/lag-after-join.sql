-- Fails before it starts: LAG in the order of arrival, over the LEFT JOIN.
-- Works: LAG over the signals, and the join after it, as in job3_lags.sql.

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

CREATE TABLE output (market STRING, `window` TIMESTAMP_LTZ(3), signal_delta DOUBLE, price DOUBLE) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'debezium-json'
);

INSERT INTO output
SELECT
    market_slug,
    window_start,
    signal - LAG(signal) OVER (PARTITION BY market_slug ORDER BY arrived),
    price
FROM (
    SELECT s.*, p.price, PROCTIME() AS arrived
    FROM signals AS s
    LEFT JOIN prices AS p ON p.market_slug = s.market_slug AND p.event_time = s.window_start
);
