-- Fails: TIMESTAMP(3) does not take the Z of 2025-01-01T10:00:00Z, the time is null, and a watermark
-- cannot be made of it. Without ignore-parse-errors the record itself ends the job.
-- Works: TIMESTAMP_LTZ(3), as in tables.sql.

CREATE TABLE articles (
    market_slug STRING,
    published_at TIMESTAMP(3),
    WATERMARK FOR published_at AS published_at - INTERVAL '5' MINUTE
) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/articles.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true'
);

CREATE TABLE output (market_slug STRING, published_at TIMESTAMP(3)) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json'
);

INSERT INTO output SELECT * FROM articles;
