"""The real command, broker, worker process and tables against Flink's rows."""

import json
from pathlib import Path

import pytest

from tests.support import golden, model
from tests.support.services import marketlag
from tests.unit.test_golden import rss_log


def read(path: Path) -> dict[tuple[str, str], dict[str, object]]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    keys = [(row["market_slug"], row["window_start"]) for row in rows]
    assert keys == sorted(keys)
    return dict(zip(keys, rows, strict=True))


@pytest.mark.parametrize("case", golden.CASES)
def test_a_replay_gives_flinks_rows(case: str, tmp_path: Path) -> None:
    """signals.jsonl and lags.jsonl equal the golden ones to the bit; late articles are counted."""
    for name in ("rss", "prices"):
        (tmp_path / f"{name}.jsonl").write_bytes(golden.raw(case, name))
    flush = "--flush" if case.startswith("flush") else "--no-flush"
    done = marketlag(
        "replay", "--articles", "rss.jsonl", "--prices", "prices.jsonl", flush, "--out", "out",
        env={"MARKETLAG_PARTITIONS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in ("signals", "lags"):
        assert read(tmp_path / "out" / f"{name}.jsonl") == golden.expected(case, name)
    late = len(model.signals_of(rss_log(case)).late)
    assert f"; {late} articles were late, 0 records refused; written to out" in done.stdout
