"""The real command line: what it says, and how it fails."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketlag.event_time import HOUR
from tests.acceptance.test_pipeline import send
from tests.support import workload
from tests.support.logs import at, heartbeat
from tests.support.services import faust, marketlag, pipeline, query, worker

Program = Callable[..., Any]
PROGRAMS = pytest.mark.parametrize("program", [marketlag, faust])


@PROGRAMS
def test_our_commands_stand_beside_fausts(program: Program) -> None:
    """Under both names of the program."""
    shown = program("--help")
    assert shown.returncode == 0
    for command in ("worker", "topics", "migrate", "demo", "replay", "agents", "tables"):
        assert f"\n  {command} " in shown.stdout


@pytest.mark.parametrize("command", ["topics", "migrate", "demo", "replay", "prune", "export"])
def test_help_has_examples(command: str) -> None:
    """Each command shows how it is called."""
    shown = marketlag(command, "--help")
    assert shown.returncode == 0
    assert f"marketlag {command}" in shown.stdout.split("Example")[1]


@PROGRAMS
@pytest.mark.parametrize("command", ["worker", "topics", "replay"])
def test_a_wrong_setting_is_one_line_before_anything_connects(
    program: Program, command: str
) -> None:
    """It names the setting; there is no traceback."""
    failed = program(command, env={"MARKETLAG_WINDOW": "7m"})
    assert failed.returncode != 0
    assert "MARKETLAG_WINDOW: a window is 1m, 5m, 15m or 1h long" in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout


@pytest.mark.parametrize(
    "command", [["worker", "--without-web"], ["topics"], ["topics", "--check"]]
)
def test_a_broker_that_is_not_there_is_one_line(command: list[str]) -> None:
    """With the address that was tried."""
    failed = marketlag(*command, env={"MARKETLAG_BROKER_URL": "kafka://127.0.0.1:1"})
    assert failed.returncode == 1
    errors = [line for line in failed.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 1
    assert "MARKETLAG_BROKER_URL=kafka://127.0.0.1:1" in errors[0]
    assert "Traceback" not in failed.stderr + failed.stdout


def test_topics_with_other_partitions_are_refused(database: str) -> None:
    """By the worker, before it takes a record."""
    with pipeline(database, partitions=3) as settings:
        env = {"MARKETLAG_BROKER_URL": settings.broker_url, "MARKETLAG_PARTITIONS": "6"}
        failed = marketlag("worker", "--without-web", env=env)
    assert failed.returncode == 1
    assert "rss.events has 3 partitions and not 6" in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout


def test_topics_that_exist_are_left_alone(database: str) -> None:
    """Creating is for what is missing."""
    with pipeline(database) as settings:
        env = {"MARKETLAG_BROKER_URL": settings.broker_url}
        assert "all topics were there already" in marketlag("topics", env=env).stdout
        assert "all topics are there" in faust("topics", "--check", env=env).stdout


def test_migrate_says_what_it_did(postgres: str) -> None:
    """And says so when there was nothing to do."""
    query(postgres, "CREATE DATABASE by_command")
    env = {"MARKETLAG_POSTGRES_DSN": postgres.replace("/postgres?", "/by_command?")}
    assert "applied 0001.lag-signals-history" in marketlag("migrate", env=env).stdout
    assert "the schema was up to date" in faust("migrate", env=env).stdout


def test_a_worker_without_a_schema_ends_with_what_to_do(postgres: str, tmp_path: Path) -> None:
    """Its exit code is not 0, and the log names the command."""
    query(postgres, "CREATE DATABASE no_schema")
    dsn = postgres.replace("/postgres?", "/no_schema?")
    with pipeline(dsn, partitions=1) as settings, worker(settings, tmp_path / "w") as running:
        closing = workload.outgoing(heartbeat(at("00:00") + 9 * HOUR))
        asyncio.run(send(settings, [*workload.articles(20), closing]))
        assert running.process.wait(60) != 0
        assert "run `marketlag migrate`" in running.log.read_text()


def test_a_file_that_is_missing_is_one_line() -> None:
    """Before any service is started."""
    failed = marketlag("replay", "--articles", "none.jsonl", "--prices", "none.jsonl")
    assert (failed.returncode, failed.stderr) == (
        1,
        "Error: none.jsonl cannot be read: No such file or directory\n",
    )


def test_the_demo_flags_what_the_sample_was_built_to_contain(tmp_path: Path) -> None:
    """It says that it is synthetic, shows a progress bar, a table and a picture."""
    shown = marketlag("demo", "--out", str(tmp_path / "out"))
    assert shown.returncode == 0, shown.stderr
    assert "Synthetic" in shown.stdout
    assert "420 rows, 5 flagged" in shown.stdout
    assert "articles ━" in shown.stderr
    for hour in ("17 Mar 14:00", "18 Mar 15:00", "19 Mar 14:00", "20 Mar 14:00", "21 Mar 11:00"):
        assert shown.stdout.count(hour) == 1
    picture = (tmp_path / "out" / "flagged-hours.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
