"""The exercises of `docs/learn.md` work as they stand there, and no module is left out."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "learn.md").read_text()
EXERCISES = re.findall(
    r"^### (\d+) [^\n]*\n.*?^```sh\n(.*?)^```\n\n```text\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL
)


def test_every_exercise_is_found() -> None:
    """With a command and what it prints."""
    headings = re.findall(r"^### (\d+) ", TEXT, re.MULTILINE)
    assert [number for number, _, _ in EXERCISES] == headings


@pytest.mark.parametrize(
    ("command", "printed"), [each[1:] for each in EXERCISES], ids=[each[0] for each in EXERCISES]
)
def test_an_exercise_prints_what_it_says(command: str, printed: str) -> None:
    """In a shell, in the checkout, whichever comes first."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-e", "-c", f"{command}pwd"],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    # Whoever types them one after the other is still in the checkout.
    expected = f"{printed}{ROOT}\n"
    agree = doctest.OutputChecker().check_output(expected, done.stdout, doctest.ELLIPSIS)
    assert agree, done.stdout


def test_every_module_has_its_row() -> None:
    """Fifteen modules, fourteen sections, thirty days; each says where it is, or that it is not."""
    assert re.findall(r"^\| M(\d+) ", TEXT, re.MULTILINE) == [str(n) for n in range(1, 16)]
    days = [
        day
        for first, last in re.findall(
            r"^\| ([6-9]\d)(?:(?:, | to )(\d\d))? [A-Za-z]", TEXT, re.MULTILINE
        )
        for day in range(int(first), int(last or first) + 1)
    ]
    assert days == list(range(61, 91))
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| ")]
    for row in rows:
        if row[1].strip() not in ("module", "sections", "day"):
            assert "`" in row[2] or "*not shown*" in row[2] or "](" in row[2], row
    numbers = {number for number, _, _ in EXERCISES}
    named = {each.strip() for row in rows for each in row[3].split(",")} - {"", "exercise"}
    assert named == numbers
