DROP TABLE lag_signals_history;
