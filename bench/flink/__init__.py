"""The SQL of ``docs/flink`` on real Flink, and ours beside it."""
