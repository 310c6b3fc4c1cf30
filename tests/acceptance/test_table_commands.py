"""The commands that read and prune the tables, as processes."""

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from marketlag.history import lag_history
from marketlag.postgres import Database
from tests.integration.test_postgres import row
from tests.support.services import marketlag, table


@pytest.fixture
def env(database: str) -> dict[str, str]:
    """Three old rows of January 2025, one of them flagged."""

    async def fill() -> None:
        connection = Database(database)
        flagged = msgspec.structs.replace(row("b"), lag_flag=True)
        await lag_history(connection).upsert([row("a"), flagged, row("c")])
        await connection.close()

    asyncio.run(fill())
    return {"MARKETLAG_POSTGRES_DSN": database}


def test_export_writes_a_file_that_is_whole(env: dict[str, str], tmp_path: Path) -> None:
    """The format follows from its name; nothing else is left beside it."""
    out = tmp_path / "out" / "lags.jsonl"
    out.parent.mkdir()
    said = marketlag("export", "lags", "--since", "2025-01-01", "--out", str(out), env=env)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", f"3 rows in {out}\n")
    flags = {
        each["market"]: each["lag_flag"] for each in map(json.loads, out.read_text().splitlines())
    }
    assert flags == {"a": False, "b": True, "c": False}
    assert list(out.parent.iterdir()) == [out]


def test_export_to_standard_output_can_be_piped(env: dict[str, str]) -> None:
    """Rows there, everything else to standard error."""
    said = marketlag("export", "signals", "--market", "b", "--market", "c", env=env)
    assert [line.split(",")[0] for line in said.stdout.splitlines()] == ["market", "b", "c"]
    assert said.stderr == "2 rows\n"


def test_export_of_a_market_that_is_not_there_is_empty(env: dict[str, str]) -> None:
    """Only the header, and so it says."""
    said = marketlag("export", "prices", "--market", "none", env=env)
    assert (said.returncode, len(said.stdout.splitlines()), said.stderr) == (0, 1, "0 rows\n")


def test_mistakes_are_one_line(env: dict[str, str], tmp_path: Path) -> None:
    """A folder that is not there, a database that is not there or has no schema."""
    failed = marketlag("export", "lags", "--out", str(tmp_path / "no" / "x.csv"), env=env)
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: ")
    assert failed.stderr.endswith("x.csv cannot be written: No such file or directory\n")
    away = {"MARKETLAG_POSTGRES_DSN": "postgresql://me:secret@127.0.0.1:1/x"}
    for command in (["export", "lags"], ["prune"]):
        failed = marketlag(*command, env=away)
        assert failed.returncode == 1
        assert failed.stderr.startswith("Error: MARKETLAG_POSTGRES_DSN: ")
        assert failed.stderr.count("\n") == 1
        assert "secret" not in failed.stderr
    empty = {"MARKETLAG_POSTGRES_DSN": env["MARKETLAG_POSTGRES_DSN"].replace("/test_", "/none_")}
    assert "does not exist" in marketlag("prune", env=empty).stderr


def test_an_export_that_fails_leaves_no_file(env: dict[str, str], tmp_path: Path) -> None:
    """Neither half a one, nor in place of the old one."""
    out = tmp_path / "prices.csv"
    out.write_text("old")
    env = {"MARKETLAG_POSTGRES_DSN": env["MARKETLAG_POSTGRES_DSN"].replace("/test_", "/none_")}
    assert marketlag("export", "prices", "--out", str(out), env=env).returncode == 1
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_export_writes_through_links_and_to_what_is_no_file(
    env: dict[str, str], tmp_path: Path
) -> None:
    """A link stays one, a pipe gets the rows, a user's own .part stays."""
    (tmp_path / "lags.csv.part").write_text("mine")
    link = tmp_path / "link.csv"
    link.symlink_to("lags.csv")
    assert marketlag("export", "lags", "--out", str(link), env=env).returncode == 0
    assert link.is_symlink()
    assert (tmp_path / "lags.csv").read_text().count("\n") == 4
    assert (tmp_path / "lags.csv.part").read_text() == "mine"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as reading:
        read = reading.submit(pipe.read_text)
        assert marketlag("export", "lags", "--out", str(pipe), env=env).returncode == 0
        assert read.result(timeout=60).count("\n") == 4
    assert pipe.is_fifo()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line(env: dict[str, str]) -> None:
    """And a device stays one."""
    full = marketlag("export", "lags", "--out", "/dev/full", env=env)
    assert full.returncode == 1
    assert full.stderr == "Error: /dev/full cannot be written: No space left on device\n"
    assert Path("/dev/full").is_char_device()


def test_prune_says_what_went(env: dict[str, str]) -> None:
    """First what would go."""
    database = env["MARKETLAG_POSTGRES_DSN"]
    would = marketlag("prune", "--dry-run", env=env)
    assert would.stdout.startswith("lag_signals_history: 3 rows from before ")
    assert len(table(database)) == 3
    said = marketlag("prune", env=env)
    assert said.stdout.startswith("lag_signals_history: deleted 3 rows from before ")
    assert "api_health_log: deleted 0 rows" in said.stdout
    assert table(database) == []


def test_rows_that_can_still_change_are_not_pruned(env: dict[str, str]) -> None:
    """They would come back, and be deleted again."""
    failed = marketlag("prune", env={**env, "MARKETLAG_HISTORY_RETENTION": "7d"})
    assert failed.returncode != 0
    assert "MARKETLAG_HISTORY_RETENTION has to be longer than MARKETLAG_STATE_TTL" in failed.stderr
    assert "Traceback" not in failed.stderr
