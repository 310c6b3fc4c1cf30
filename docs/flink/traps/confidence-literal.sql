-- Wrong: the share of the largest jump, capped with LEAST alone or floored with COALESCE alone.
-- Works: the CASE, as in job3_lags.sql.

CREATE TABLE jumps (signal_delta DOUBLE, max_signal_delta DOUBLE) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/jumps.jsonl', 'format' = 'json'
);

-- As text: JSON has no infinity.
CREATE TABLE output (
    signal_delta DOUBLE,
    capped STRING,
    floored STRING,
    `both` STRING,
    works DOUBLE
) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json'
);

INSERT INTO output
SELECT
    signal_delta,
    CAST(LEAST(1.0, signal_delta / max_signal_delta) AS STRING),
    CAST(COALESCE(signal_delta / max_signal_delta, 0.0) AS STRING),
    CAST(LEAST(1.0, GREATEST(0.0, COALESCE(signal_delta / max_signal_delta, 0.0))) AS STRING),
    CASE WHEN signal_delta > 0E0 THEN signal_delta / max_signal_delta ELSE 0E0 END
FROM jumps;
