-- One row per fetch of the producers: feeds and Polymarket.
-- depends: 0001.lag-signals-history
CREATE TABLE api_health_log (
    id               bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source           text        NOT NULL,
    -- ok, not_modified or failed
    status           text        NOT NULL,
    response_time_ms integer     NOT NULL,
    error_message    text,
    logged_at        timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX api_health_log_logged_at ON api_health_log (logged_at);
-- One source's last fetches.
CREATE INDEX api_health_log_source ON api_health_log (source, logged_at);
