-- The hourly prices of every outcome, and the signals, for charts and for judging flags afterwards.
-- depends: 0002.api-health-log
CREATE TABLE price_hourly (
    market       text             NOT NULL,
    outcome      text             NOT NULL,
    -- The outcome case-folded: YES and yes are one.
    outcome_key  text             NOT NULL,
    hour         timestamptz      NOT NULL,
    price        double precision NOT NULL,
    prev_price   double precision,
    price_delta  double precision NOT NULL,
    stale        boolean          NOT NULL,
    fetched_at   timestamptz      NOT NULL,
    created_at   timestamptz      NOT NULL DEFAULT now(),
    updated_at   timestamptz      NOT NULL DEFAULT now(),
    -- Freshness, fetched_at (ms), offset, partition; only a greater one replaces a row.
    version      bigint[]         NOT NULL,
    PRIMARY KEY (market, outcome_key, hour)
);

-- All markets over a period; retention.
CREATE INDEX price_hourly_hour ON price_hourly (hour);

-- A signal that is not older than the state kept gives one row of lag_signals_history, which holds
-- all of it.
CREATE VIEW rss_signals_hourly AS
SELECT
    market,
    "window",
    mention_count,
    keyword_score,
    rss_signal AS source_weighted_signal,
    source_weight_avg,
    created_at,
    updated_at
FROM lag_signals_history;
