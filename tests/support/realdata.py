"""Recorded bodies, prices and headlines; they belong to their publishers and are not in here."""

import os
from pathlib import Path

import pytest

#: Before fixtures take the settings out of the environment.
_NAMED = os.environ.get("MARKETLAG_TEST_DATA")
FOLDER = Path(_NAMED) if _NAMED else Path(__file__).parents[3] / "shared" / "realdata"

needs_realdata = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="no recorded bodies: name their folder in MARKETLAG_TEST_DATA"
)


def recorded(path: str) -> bytes:
    return (FOLDER / path).read_bytes()
