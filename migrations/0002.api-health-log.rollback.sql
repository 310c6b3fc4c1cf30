DROP TABLE api_health_log;
