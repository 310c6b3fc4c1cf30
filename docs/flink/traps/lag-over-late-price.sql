-- Starts, and fails at the first price that arrives after its signal: LAG in the order of
-- window_start, over the LEFT JOIN. So that the price is late at each run, the table has here what
-- the join then gives: a row without a price, and its replacement.
-- Works: LAG over the signals, and the join after it, as in job3_lags.sql.

CREATE TABLE joined (
    market_slug STRING,
    window_start TIMESTAMP_LTZ(3),
    signal DOUBLE,
    price DOUBLE
) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/joined.jsonl',
    'format' = 'debezium-json',
    'debezium-json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE output (market STRING, `window` TIMESTAMP_LTZ(3), signal_delta DOUBLE, price DOUBLE) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'debezium-json'
);

INSERT INTO output
SELECT
    market_slug,
    window_start,
    signal - LAG(signal) OVER (PARTITION BY market_slug ORDER BY window_start),
    price
FROM joined;
