"""The golden cases: what real Flink gave (see tests/golden/README.md)."""

import gzip
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "golden"
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def raw(case: str, name: str) -> bytes:
    return gzip.decompress((FOLDER / case / f"{name}.jsonl.gz").read_bytes())


def lines(case: str, name: str) -> list[bytes]:
    return raw(case, name).splitlines()


def expected(case: str, name: str) -> dict[tuple[str, str], dict[str, Any]]:
    """Flink's rows by market and window start."""
    rows = [json.loads(line) for line in lines(case, name)]
    return {(row["market_slug"], row["window_start"]): row for row in rows}
