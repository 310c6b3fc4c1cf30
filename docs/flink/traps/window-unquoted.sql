-- window is a word of SQL's own; `window` in backquotes works.
CREATE TABLE articles (market_slug STRING, published_at TIMESTAMP_LTZ(3)) WITH (
    'connector' = 'filesystem',
    'path' = 'file:///tmp/trap/articles.jsonl',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
);
CREATE TABLE output (market STRING, window TIMESTAMP_LTZ(3))
WITH ('connector' = 'filesystem', 'path' = 'file:///tmp/trap/output', 'format' = 'json');
INSERT INTO output SELECT market_slug, published_at FROM articles;
