-- The topics as tables, for all three jobs. Flink 2.2 with the Kafka SQL connector 5.0.
-- Only the addresses are to be changed.

-- Times in the records are UTC. Flink's FLOOR and window_start go by the session's zone.
SET 'table.local-time-zone' = 'UTC';
-- State that nobody has touched for 7 days of *processing* time goes.
SET 'table.exec.state.ttl' = '7 d';

CREATE TABLE rss_events (
    market_slug STRING,
    -- Has to be TIMESTAMP_LTZ: TIMESTAMP(3) does not take the Z and would be null.
    published_at TIMESTAMP_LTZ(3),
    source_weight DOUBLE,
    keyword_score DOUBLE,
    -- A null here would kill the job. 1970 moves no watermark, and job1_signals.sql leaves it out.
    event_time AS COALESCE(published_at, TO_TIMESTAMP_LTZ(0, 3)),
    WATERMARK FOR event_time AS event_time - INTERVAL '5' MINUTE
) WITH (
    'connector' = 'kafka',
    'topic' = 'rss.events',
    'properties.bootstrap.servers' = 'localhost:9092',
    'properties.group.id' = 'flink-job1',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true',
    -- A watermark after each record that moves it; the default is one every 200 ms of the machine.
    'scan.watermark.emit.strategy' = 'on-event'
);

-- No watermark: Job 3 takes the windows in the order of the log.
CREATE TABLE rss_signals_hourly (
    market_slug STRING,
    window_start TIMESTAMP_LTZ(3),
    window_end TIMESTAMP_LTZ(3),
    mention_count BIGINT,
    keyword_score DOUBLE,
    source_weighted_signal DOUBLE,
    source_weight_avg DOUBLE,
    -- Not in the record: the order of arrival, for LAG and MAX.
    arrived AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = 'rss.signals_hourly',
    'properties.bootstrap.servers' = 'localhost:9092',
    'properties.group.id' = 'flink-job3',
    'properties.isolation.level' = 'read_committed',
    'scan.startup.mode' = 'earliest-offset',
    'key.format' = 'raw',
    'key.fields' = 'market_slug',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601',
    -- A signal sent twice would be LAG's previous window to itself.
    'sink.delivery-guarantee' = 'exactly-once',
    'sink.transactional-id-prefix' = 'flink-job1'
);

CREATE TABLE price_hourly (
    market_slug STRING,
    outcome STRING,
    price DOUBLE,
    prev_price DOUBLE,
    price_delta DOUBLE,
    event_time TIMESTAMP_LTZ(3),
    fetched_at TIMESTAMP_LTZ(3),
    stale BOOLEAN
) WITH (
    'connector' = 'kafka',
    'topic' = 'polymarket.price_hourly',
    'properties.bootstrap.servers' = 'localhost:9092',
    'properties.group.id' = 'flink-job2',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    'json.ignore-parse-errors' = 'true'
);

-- No watermark here either: with one on both sides the join would be an interval join.
CREATE TABLE price_normalized (
    market_slug STRING,
    outcome STRING,
    price DOUBLE,
    prev_price DOUBLE,
    price_delta DOUBLE,
    event_time TIMESTAMP_LTZ(3),
    fetched_at TIMESTAMP_LTZ(3),
    stale BOOLEAN
) WITH (
    'connector' = 'kafka',
    'topic' = 'polymarket.price_normalized',
    'properties.bootstrap.servers' = 'localhost:9092',
    'properties.group.id' = 'flink-job3',
    'scan.startup.mode' = 'earliest-offset',
    'key.format' = 'raw',
    'key.fields' = 'market_slug',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601'
);

-- A row is sent again when its price comes, so the sink has to upsert.
CREATE TABLE lag_signals (
    market STRING,
    `window` TIMESTAMP_LTZ(3),
    outcome STRING,
    signal_delta DOUBLE,
    price_delta DOUBLE,
    lag_flag BOOLEAN,
    confidence DOUBLE,
    rss_signal DOUBLE,
    prev_rss_signal DOUBLE,
    max_signal_delta DOUBLE,
    price DOUBLE,
    prev_price DOUBLE,
    stale BOOLEAN,
    mention_count BIGINT,
    keyword_score DOUBLE,
    source_weight_avg DOUBLE,
    PRIMARY KEY (market, `window`) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka',
    'topic' = 'lag_signals',
    'properties.bootstrap.servers' = 'localhost:9092',
    'key.format' = 'json',
    'key.json.timestamp-format.standard' = 'ISO-8601',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601'
);
