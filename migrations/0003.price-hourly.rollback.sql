DROP VIEW rss_signals_hourly;
DROP TABLE price_hourly;
