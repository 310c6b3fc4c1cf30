-- The formula as it is written down: min(1, 0.5 * delta / largest + 0.3 * (1 - |move|) + 0.2 * weight).
CREATE TABLE jumps (number INT, delta DOUBLE, largest DOUBLE, moved DOUBLE, weight DOUBLE)
WITH ('connector' = 'filesystem', 'path' = 'file:///tmp/trap/jumps.jsonl', 'format' = 'json');
CREATE TABLE output (number INT, confidence STRING)
WITH ('connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json');
INSERT INTO output
SELECT
    number,
    CAST(
        LEAST(1E0, (delta / largest) * 0.5E0 + (1E0 - ABS(moved)) * 0.3E0 + weight * 0.2E0)
        AS STRING
    )
FROM jumps;
