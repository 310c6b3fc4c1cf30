-- Fails: window is a reserved word.
-- Works: `window`, as in tables.sql.

CREATE TABLE output (market STRING, window TIMESTAMP_LTZ(3)) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json'
);
