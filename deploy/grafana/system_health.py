"""Whether the pipeline works: workers, lag, watermarks, commits, Postgres, sources."""

from typing import Any

from deploy.grafana.panels import HALF, board, prom_series, prom_stat, sql_table

RATE = "[$__rate_interval]"


def quantile(which: float, histogram: str, *, by: str = "") -> str:
    """Of what a histogram has seen since the last point of a graph."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({which}, sum by ({labels}) (rate({histogram}_bucket{RATE})))"


def mean(histogram: str, *, by: str) -> str:
    total, count = (f"sum by ({by}) (rate({histogram}_{part}{RATE}))" for part in ("sum", "count"))
    return f"{total} / {count}"


def build() -> Any:
    return board(
        "marketlag-health",
        "MarketLag: system health",
        "What the workers say of themselves. What to do about it: docs/operations.md.",
        "now-6h",
        [
            ("Now", _now()),
            ("Event time and Kafka", _kafka()),
            ("Throughput", _throughput()),
            ("Postgres", _postgres()),
            ("Sources", _sources()),
            ("Workers", _workers()),
        ],
    )


def _now() -> list[Any]:
    return [
        prom_stat("Workers ready", "That say so at /readyz.", "sum(marketlag_ready)"),
        prom_stat(
            "Workers not ready",
            "Running, and not doing their work.",
            "count(marketlag_ready == 0) or vector(0)",
            bad_from=1,
        ),
        prom_stat(
            "Partitions",
            "Of rss.events, held by somebody.",
            'sum(marketlag_partitions_assigned{topic="rss.events"})',
        ),
        prom_stat(
            "Consumer lag",
            "Age of the oldest record that is not worked through.",
            "max(marketlag_consumer_lag_seconds)",
            unit="s",
            bad_from=3600,
        ),
        prom_stat(
            "Watermark overdue",
            "How long ago the slowest watermark should have moved.",
            "max(marketlag_watermark_overdue_seconds)",
            unit="s",
            bad_from=600,
        ),
        prom_stat(
            "Refused in an hour",
            "Records sent to a DLQ.",
            "sum(increase(marketlag_records_refused_total[1h]))",
            bad_from=1,
        ),
    ]


def _kafka() -> list[Any]:
    return [
        prom_series(
            "Watermarks behind now",
            "They stay behind by the watermark delay and the time between polls.",
            (
                "max by (topic, partition) (marketlag_watermark_distance_seconds)",
                "{{topic}} {{partition}}",
            ),
            unit="s",
        ),
        prom_series(
            "Consumer lag",
            "Records that are not worked through.",
            (
                "max by (topic, partition) (marketlag_consumer_lag_records)",
                "{{topic}} {{partition}}",
            ),
            unit="short",
        ),
        prom_series(
            "Commits",
            "A fenced commit is harmless: the partitions were given away.",
            (f"sum by (outcome) (rate(marketlag_commits_total{RATE}))", "{{outcome}} a second"),
            ("max(marketlag_commit_age_seconds)", "waiting (s)"),
            unit="short",
        ),
        prom_series(
            "Waiting for Kafka",
            "Time in which Kafka confirmed what was sent before a commit.",
            (
                quantile(0.5, "marketlag_flush_seconds"),
                "median",
            ),
            (
                quantile(0.99, "marketlag_flush_seconds"),
                "99 %",
            ),
            unit="s",
        ),
        prom_series(
            "Windows open",
            "Of Job 1, by partition.",
            ("sum by (partition) (marketlag_windows_open)", "{{partition}}"),
            unit="short",
        ),
        prom_series(
            "Late, twice, refused",
            "An hour's records that were not counted.",
            ("sum by (agent) (increase(marketlag_records_late_total[1h]))", "late: {{agent}}"),
            ("sum by (kind) (increase(marketlag_duplicates_fenced_total[1h]))", "twice: {{kind}}"),
            (
                "sum by (topic, reason) (increase(marketlag_records_refused_total[1h])) > 0",
                "refused: {{topic}} {{reason}}",
            ),
            unit="short",
        ),
    ]


def _throughput() -> list[Any]:
    return [
        prom_series(
            "In",
            "Records a second that agents have worked through.",
            (f"sum by (agent) (rate(marketlag_records_received_total{RATE}))", "{{agent}}"),
            unit="short",
        ),
        prom_series(
            "Out",
            "Records a second handed to Kafka.",
            (f"sum by (agent) (rate(marketlag_records_sent_total{RATE}))", "{{agent}}"),
            unit="short",
        ),
        prom_series(
            "Records of a chunk",
            "The mean; more under load.",
            (
                mean("marketlag_chunk_records", by="agent"),
                "{{agent}}",
            ),
            unit="short",
        ),
        prom_series(
            "Time of a chunk",
            "99 % take less.",
            (
                quantile(0.99, "marketlag_chunk_seconds", by="agent"),
                "{{agent}}",
            ),
            unit="s",
        ),
        prom_series(
            "From publication to being counted",
            "Of the newest article of a chunk.",
            (
                quantile(0.5, "marketlag_article_delay_seconds"),
                "median",
            ),
            (
                quantile(0.95, "marketlag_article_delay_seconds"),
                "95 %",
            ),
            unit="s",
        ),
        prom_series(
            "Until a row is in Postgres",
            "Since the end of its window, and since the record came that completed it.",
            (
                quantile(0.95, "marketlag_row_delay_seconds", by="since"),
                "since {{since}}, 95 %",
            ),
            unit="s",
        ),
    ]


def _postgres() -> list[Any]:
    return [
        prom_series(
            "Rows",
            "A second, that changed a table.",
            (f"sum by (table) (rate(marketlag_sink_rows_total{RATE}))", "{{table}}"),
            unit="short",
        ),
        prom_series(
            "Upserts",
            "Time of one, and rows that wait for theirs.",
            (
                quantile(0.95, "marketlag_sink_write_seconds", by="table"),
                "{{table}}, 95 % (s)",
            ),
            ("sum by (table) (marketlag_sink_rows_waiting)", "{{table}} waiting"),
            unit="short",
        ),
        prom_series(
            "Rows of an upsert, and retries",
            "The mean; what was tried again.",
            (
                mean("marketlag_sink_batch_rows", by="table"),
                "{{table}}",
            ),
            ("sum(increase(marketlag_sink_retries_total[10m]))", "retries in 10 minutes"),
            unit="short",
        ),
    ]


def _sources() -> list[Any]:
    return [
        prom_series(
            "Fetches",
            "A minute, by outcome.",
            (f"60 * sum by (outcome) (rate(marketlag_fetches_total{RATE}))", "{{outcome}}"),
            unit="short",
        ),
        prom_series(
            "Failures in a row",
            "By source, where there are any.",
            ("max by (source) (marketlag_fetch_failures_in_a_row)", "{{source}}"),
            unit="short",
        ),
        prom_series(
            "Feeds, since they last answered",
            "After FEED_IDLE_AFTER time goes on without them.",
            ("max by (feed) (marketlag_feed_staleness_seconds)", "{{feed}}"),
            ("sum by (kind) (marketlag_sources_idle)", "{{kind}} idle (count)"),
            unit="s",
        ),
        prom_series(
            "Time of a fetch",
            "95 % take less.",
            (
                quantile(0.95, "marketlag_fetch_seconds", by="kind"),
                "{{kind}}",
            ),
            unit="s",
        ),
        sql_table(
            "Sources in the chosen time",
            "From api_health_log; those that fail most often first.",
            """
            SELECT source, count(*) AS fetches,
                count(*) FILTER (WHERE status = 'failed') AS failed,
                avg((status = 'failed')::int) AS share_failed,
                percentile_cont(0.95) WITHIN GROUP (ORDER BY response_time_ms) AS ms_95,
                max(logged_at) FILTER (WHERE status <> 'failed') AS last_answer,
                (array_agg(error_message ORDER BY logged_at DESC)
                    FILTER (WHERE status = 'failed'))[1] AS last_error
            FROM api_health_log WHERE $__timeFilter(logged_at)
            GROUP BY source ORDER BY share_failed DESC, source LIMIT 200
            """,
            width=16,
            height=8,
        ),
    ]


def _workers() -> list[Any]:
    return [
        prom_series(
            "CPU",
            "Of each worker.",
            (f'rate(process_cpu_seconds_total{{job="marketlag"}}{RATE})', "{{instance}}"),
            unit="percentunit",
            width=HALF,
        ),
        prom_series(
            "Memory",
            "Resident, of each worker.",
            ('process_resident_memory_bytes{job="marketlag"}', "{{instance}}"),
            unit="bytes",
            width=HALF,
        ),
        prom_series(
            "Notifications",
            "In an hour, by channel.",
            (
                "sum by (channel, outcome) (increase(marketlag_notifications_total[1h]))",
                "{{channel}} {{outcome}}",
            ),
            unit="short",
            width=HALF,
        ),
        prom_series(
            "Flags",
            "Rows in an hour, sent again ones among them.",
            (
                "sum by (flagged) (increase(marketlag_lag_rows_total[1h]))",
                "flagged: {{flagged}}",
            ),
            unit="short",
            width=HALF,
        ),
    ]
