-- Fails: one article whose published_at is null ends the job.
-- Works: the watermark on COALESCE(published_at, TO_TIMESTAMP_LTZ(0, 3)), as in tables.sql, and
-- WHERE published_at IS NOT NULL, as in job1_signals.sql.

CREATE TABLE articles (
    market_slug STRING,
    published_at TIMESTAMP_LTZ(3),
    WATERMARK FOR published_at AS published_at - INTERVAL '5' MINUTE
) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/articles.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);

CREATE TABLE output (market_slug STRING, published_at TIMESTAMP_LTZ(3)) WITH (
    'connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json'
);

INSERT INTO output SELECT * FROM articles;
