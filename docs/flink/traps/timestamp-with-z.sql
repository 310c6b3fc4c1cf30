-- TIMESTAMP(3) does not take the Z of an ISO-8601 time. json.ignore-parse-errors makes a null of it.
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
CREATE TABLE output (market_slug STRING, articles BIGINT)
WITH ('connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json');
INSERT INTO output
SELECT market_slug, COUNT(*)
FROM TABLE(TUMBLE(TABLE articles, DESCRIPTOR(published_at), INTERVAL '1' HOUR))
GROUP BY market_slug, window_start, window_end;
