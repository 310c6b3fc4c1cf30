-- The rows of Job 3, one per market and window, the newest version of each.
CREATE TABLE lag_signals_history (
    market             text             NOT NULL,
    "window"           timestamptz      NOT NULL,
    outcome            text             NOT NULL,
    signal_delta       double precision,
    price_delta        double precision NOT NULL,
    lag_flag           boolean          NOT NULL,
    confidence         double precision NOT NULL,
    rss_signal         double precision NOT NULL,
    prev_rss_signal    double precision,
    max_signal_delta   double precision NOT NULL,
    signal_zscore      double precision,
    price              double precision,
    prev_price         double precision,
    stale              boolean,
    mention_count      integer          NOT NULL,
    keyword_score      double precision NOT NULL,
    source_weight_avg  double precision NOT NULL,
    detected_at        timestamptz      NOT NULL,
    created_at         timestamptz      NOT NULL DEFAULT now(),
    updated_at         timestamptz      NOT NULL DEFAULT now(),
    -- Made of the row's inputs; only a greater one replaces a row.
    version            bigint[]         NOT NULL,
    PRIMARY KEY (market, "window")
);

-- Flagged hours of a period, and how many there were.
CREATE INDEX lag_signals_history_flagged ON lag_signals_history (detected_at) WHERE lag_flag;
-- All markets over a period.
CREATE INDEX lag_signals_history_window ON lag_signals_history ("window");
