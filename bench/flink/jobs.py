"""Runs the SQL of ``docs/flink`` over files, one case after another, in one Flink.

Runs in an environment of its own (apache-flink). Reads a case a line, ``{"folder", "open"}`` or
``{"folder", "script"}``, and answers with a line: ``done``, or ``failed`` and Flink's reason.

A folder has ``rss.jsonl`` and ``prices.jsonl`` and gets ``signals.jsonl``, ``normalized.jsonl``
and ``changes.jsonl``, the rows of Job 3 as they were made and replaced. A script makes its own
tables in the folder; what it writes to the one named ``output``, or its EXPLAIN, becomes
``output.jsonl``.
"""

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pyflink.common import Configuration
from pyflink.java_gateway import get_gateway
from pyflink.table import EnvironmentSettings, TableEnvironment, TableResult

SQL = Path(os.environ["SQL"])
CONFIG = {
    "parallelism.default": "1",
    # A watermark after each record that moves it.
    "pipeline.auto-watermark-interval": "0 ms",
    "execution.checkpointing.interval": "100 ms",
    "taskmanager.memory.managed.size": "128m",
    "restart-strategy.type": "none",
}
#: Behind the last record of an open case: too old to count or to move the watermark.
END = {"market_slug": "__end__", "published_at": "1970-01-01T00:00:00Z"}
SEES_THE_END = """
INSERT INTO consumed
SELECT market_slug, published_at, source_weight, keyword_score
FROM rss_events WHERE market_slug = '__end__'
"""
CONSUMED = (
    "CREATE TABLE consumed (market STRING, published_at TIMESTAMP_LTZ(3), weight DOUBLE, "
    "score DOUBLE) WITH ('connector' = 'filesystem', 'format' = 'json', 'path' = '{}')"
)
JSON = {"format": "json", "json.timestamp-format.standard": "ISO-8601"}
#: What others write may be broken; ``tables.sql`` says the same of Kafka.
LENIENT = {**JSON, "json.ignore-parse-errors": "true"}
#: A changelog: each line says what the row was before and what it is now.
CHANGES = {"format": "debezium-json", "debezium-json.timestamp-format.standard": "ISO-8601"}
NOT_ALL_RUNNING = "Not all required tasks are currently running"
PATIENCE_SECONDS = 120.0


class Jobs:
    """A session in which ``tables.sql`` was read; its tables are put on files, case by case."""

    def __init__(self) -> None:
        config = Configuration()
        for name, value in CONFIG.items():
            config.set_string(name, value)
        settings = EnvironmentSettings.new_instance().in_streaming_mode()
        self.session = TableEnvironment.create(settings.with_configuration(config).build())
        for database in ("kafka", "files"):
            self.session.execute_sql(f"CREATE DATABASE {database}")
        self.session.use_database("kafka")
        self.execute((SQL / "tables.sql").read_text())
        self.session.use_database("files")
        #: Of the newest EXPLAIN.
        self.plan = ""

    def run(self, folder: Path, *, stays_open: bool) -> None:
        """The three jobs, one after another, each over all that the one before it gave."""
        self.put("rss_signals_hourly", folder / "signals", JSON)
        if stays_open:
            self.run_open("job1_signals.sql", folder)
        else:
            self.put("rss_events", folder / "rss.jsonl", LENIENT)
            finish(self.start("job1_signals.sql"))
        gather(folder / "signals", folder / "signals.jsonl")

        self.put("price_hourly", folder / "prices.jsonl", LENIENT)
        self.put("price_normalized", folder / "normalized", JSON)
        finish(self.start("job2_prices.sql"))
        gather(folder / "normalized", folder / "normalized.jsonl")

        self.put("rss_signals_hourly", folder / "signals.jsonl", JSON)
        self.put("price_normalized", folder / "normalized.jsonl", JSON)
        self.put("lag_signals", folder / "changes", CHANGES)
        finish(self.start("job3_lags.sql"))
        gather(folder / "changes", folder / "changes.jsonl")

    def run_open(self, name: str, folder: Path) -> None:
        """A job over articles that nothing follows: no watermark says that they ended.

        A record at their end is read by a second INSERT on the same source. When it is through,
        so is all before it, and a savepoint takes what is on its way to the files.
        """
        log = folder / "rss-open.jsonl"
        log.write_text((folder / "rss.jsonl").read_text() + json.dumps(END) + "\n")
        self.put("rss_events", log, {**LENIENT, "source.monitor-interval": "1 h"})
        self.session.execute_sql("DROP TABLE IF EXISTS consumed")
        self.session.execute_sql(CONSUMED.format((folder / "consumed").as_uri()))
        job = self.start(name, beside=SEES_THE_END).get_job_client()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(part.stat().st_size for part in parts(folder / "consumed")):
            status = job.get_job_status().result().name
            if status not in ("CREATED", "INITIALIZING", "RUNNING") or time.monotonic() > deadline:
                raise RuntimeError(f"Job 1 did not come to the end of its log; it is {status}")
            time.sleep(0.02)
        stop(job, folder / "savepoint", deadline)

    def put(self, table: str, path: Path, options: dict[str, str]) -> None:
        """The table as in ``tables.sql`` in all but its connector, on a file."""
        options = {"connector": "filesystem", "path": path.as_uri(), **options}
        listed = ", ".join(f"'{name}' = '{value}'" for name, value in options.items())
        self.session.execute_sql(f"DROP TABLE IF EXISTS {table}")
        self.session.execute_sql(
            f"CREATE TABLE {table} WITH ({listed}) LIKE kafka.{table} (EXCLUDING OPTIONS)"
        )

    def run_script(self, script: Path, folder: Path) -> None:
        self.session.execute_sql("CREATE DATABASE script")
        self.session.use_database("script")
        try:
            text = script.read_text().replace("file:///tmp/trap/", f"{folder.as_uri()}/")
            started = self.execute(text)
            if started is not None:
                finish(started)
                gather(folder / "output", folder / "output.jsonl")
            else:
                (folder / "output.jsonl").write_text(json.dumps({"plan": self.plan}) + "\n")
        finally:
            self.session.use_database("files")
            self.session.execute_sql("DROP DATABASE script CASCADE")

    def start(self, name: str, beside: str = "") -> TableResult:
        """The job of a file, with the INSERT *beside* in the same job."""
        started = self.execute((SQL / name).read_text(), beside)
        assert started is not None, f"{name} has no INSERT"
        return started

    def execute(self, text: str, beside: str = "") -> TableResult | None:
        """All statements of a text; its INSERT is started."""
        started = None
        for statement in statements(text):
            if setting := re.fullmatch(r"SET '(.+)' = '(.+)'", statement):
                self.session.get_config().set(*setting.groups())
            elif statement.startswith("EXPLAIN"):
                with self.session.execute_sql(statement).collect() as rows:
                    self.plan = next(rows)[0].partition("== Optimized Execution Plan ==")[2]
            elif statement.startswith("INSERT"):
                inserts = self.session.create_statement_set()
                for insert in filter(None, (statement, beside)):
                    inserts.add_insert_sql(insert)
                started = inserts.execute()
            else:
                self.session.execute_sql(statement)
        for view in self.session.list_temporary_views():
            self.session.drop_temporary_view(view)
        return started


def stop(job: Any, savepoint: Path, deadline: float) -> None:
    """Stop with a savepoint, which Flink refuses as long as one of the tasks has not begun."""
    # PyFlink 2.2.1 calls a method that is gone in Java.
    flink = get_gateway().jvm.org.apache.flink.core.execution
    kind = flink.SavepointFormatType.NATIVE
    while True:
        try:
            job._j_job_client.stopWithSavepoint(False, savepoint.as_uri(), kind).get()
        except Py4JJavaError as exc:
            if NOT_ALL_RUNNING not in str(exc) or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def statements(text: str) -> list[str]:
    code = re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE)
    return [part.strip() for part in re.split(r";\s*$", code, flags=re.MULTILINE) if part.strip()]


def finish(started: TableResult) -> None:
    started.wait(int(PATIENCE_SECONDS * 1000))


def parts(folder: Path) -> list[Path]:
    """What a job wrote, in order; hidden as long as the file may grow, as it is in an open case."""
    found = [each for each in folder.glob("*part-*") if not each.name.endswith(".crc")]
    return sorted(found, key=lambda each: int(re.findall(r"-\d+-(\d+)", each.name)[0]))


def gather(folder: Path, into: Path) -> None:
    into.write_text("".join(part.read_text() for part in parts(folder)))


def reason(error: Exception) -> str:
    """The last cause in a Java trace, which is the first."""
    causes = re.findall(r"^Caused by: (.+)$", str(error), flags=re.MULTILINE)
    return causes[-1].strip() if causes else " ".join(str(error).split())[:500]


def main() -> None:
    jobs = Jobs()
    for line in sys.stdin:
        case = json.loads(line)
        folder = Path(case["folder"])
        try:
            if "script" in case:
                jobs.run_script(Path(case["script"]), folder)
            else:
                jobs.run(folder, stays_open=case["open"])
        # Whatever it is, the other cases can still run.
        except Exception as exc:  # noqa: BLE001
            print("failed", reason(exc), flush=True)
        else:
            print("done", flush=True)


if __name__ == "__main__":
    main()
