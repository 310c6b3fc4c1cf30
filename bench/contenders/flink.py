"""The same job as Flink SQL: one tumbling window on Kafka, parallelism 1, checkpoints every 10 s.

Runs in an environment of its own (apache-flink), with Flink's own cluster inside of its JVM.
``FLINK_STATE`` is ``hashmap`` (state on the heap) or ``rocksdb``.
"""

import os
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

SOURCE = """
CREATE TABLE rss_events (
    market_slug STRING,
    published_at TIMESTAMP_LTZ(3),
    source_weight DOUBLE,
    keyword_score DOUBLE,
    WATERMARK FOR published_at AS published_at - INTERVAL '5' MINUTE
) WITH (
    'connector' = 'kafka',
    'topic' = '{topic}',
    'properties.bootstrap.servers' = '{broker}',
    'properties.group.id' = '{group}',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601'
)"""

SINK = """
CREATE TABLE signals (
    market_slug STRING,
    window_start TIMESTAMP_LTZ(3),
    mention_count BIGINT,
    keyword_score DOUBLE,
    source_weighted_signal DOUBLE,
    source_weight_avg DOUBLE
) WITH (
    'connector' = 'kafka',
    'topic' = '{output}',
    'properties.bootstrap.servers' = '{broker}',
    'key.format' = 'raw',
    'key.fields' = 'market_slug',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601',
    'sink.delivery-guarantee' = 'at-least-once'
)"""

JOB = """
INSERT INTO signals
SELECT
    market_slug,
    CAST(window_start AS TIMESTAMP_LTZ(3)),
    COUNT(*),
    SUM(keyword_score),
    AVG(keyword_score * source_weight),
    AVG(source_weight)
FROM TABLE(TUMBLE(TABLE rss_events, DESCRIPTOR(published_at), INTERVAL '1' HOUR))
GROUP BY market_slug, window_start, window_end
"""


def main() -> None:
    folder = Path(os.environ["FOLDER"])
    config = Configuration()
    for name, value in {
        "pipeline.jars": f"file://{os.environ['FLINK_CONNECTOR']}",
        "parallelism.default": "1",
        "table.local-time-zone": "UTC",
        "execution.checkpointing.interval": "10 s",
        "execution.checkpointing.dir": (folder / "checkpoints").as_uri(),
        "state.backend.type": os.environ["FLINK_STATE"],
        "taskmanager.memory.managed.size": "256m",
        "pipeline.object-reuse": "true",
    }.items():
        config.set_string(name, value)
    table = TableEnvironment.create(
        EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(config).build()
    )
    place = {
        "broker": os.environ["BROKER"],
        "topic": os.environ["TOPIC"],
        "output": os.environ["OUTPUT"],
        "group": os.environ["GROUP"],
    }
    table.execute_sql(SOURCE.format(**place))
    table.execute_sql(SINK.format(**place))
    table.execute_sql(JOB).wait()


if __name__ == "__main__":
    main()
