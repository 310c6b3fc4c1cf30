-- Job 1: articles to hourly signals.

-- In two phases Flink adds sums of parts, and the last bits of a sum then depend on when windows
-- closed. In one phase it adds in the order of arrival.
SET 'table.optimizer.agg-phase-strategy' = 'ONE_PHASE';

INSERT INTO rss_signals_hourly
SELECT
    market_slug,
    -- TUMBLE gives a TIMESTAMP(3) in the session's zone; the record's time has a Z.
    CAST(window_start AS TIMESTAMP_LTZ(3)),
    CAST(window_end AS TIMESTAMP_LTZ(3)),
    COUNT(*),
    SUM(keyword_score),
    AVG(keyword_score * source_weight),
    AVG(source_weight)
FROM TABLE(TUMBLE(TABLE rss_events, DESCRIPTOR(event_time), INTERVAL '1' HOUR))
-- A heartbeat has moved the watermark by now, and counts in no window.
WHERE market_slug <> '__heartbeat__'
    AND published_at IS NOT NULL
GROUP BY market_slug, window_start, window_end;
