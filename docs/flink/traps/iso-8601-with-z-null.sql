-- Wrong: as iso-8601-with-z.sql, but without a watermark nothing ends; each time is null.
-- Works: TIMESTAMP_LTZ(3), as in tables.sql.

CREATE TABLE articles (market_slug STRING, published_at TIMESTAMP(3)) WITH (
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
