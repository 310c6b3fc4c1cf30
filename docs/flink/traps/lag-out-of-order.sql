-- Starts, and fails at the first signal of an earlier window: LAG in the order of window_start,
-- which is no time attribute, over signals alone.
-- Works: LAG in the order of arrival, as in job3_lags.sql; Job 1 closes a market's windows in order.

CREATE TABLE signals (market_slug STRING, window_start TIMESTAMP_LTZ(3), signal DOUBLE) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/signals.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE output (market STRING, `window` TIMESTAMP_LTZ(3), signal_delta DOUBLE) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'debezium-json'
);

INSERT INTO output
SELECT
    market_slug,
    window_start,
    signal - LAG(signal) OVER (PARTITION BY market_slug ORDER BY window_start)
FROM signals;
