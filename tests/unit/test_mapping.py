"""Everything that `docs/flink-mapping.md` names exists, and nothing of Flink's is left out."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "flink-mapping.md").read_text()
#: Files are named from the checkout's root.
FOLDERS = "marketlag|agents|tables|producers|migrations|tests|docs|bench|deploy"
NAMED = sorted(set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+\.\w+)::([\w.]+)`", TEXT)))
VERDICTS = ("*same*", "*different*", "*not here*")
#: The sections of the curriculum that the page goes by.
SECTIONS = {
    1: 10,
    2: 4,
    3: 6,
    4: 2,
    5: 2,
    6: 4,
    7: 4,
    8: 3,
    9: 4,
    10: 4,
    11: 3,
    12: 5,
    13: 3,
    14: 2,
}
JOBS = {
    "Job 1": ("tables.sql", "job1_signals.sql"),
    "Job 2": ("tables.sql", "job2_prices.sql"),
    "Job 3": ("tables.sql", "job3_lags.sql"),
}


def rows(text: str) -> list[list[str]]:
    """The cells of each row of its tables, without heads."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] and row[0] != "clause"]


def section(title: str) -> str:
    """From a heading that begins so to the next one."""
    [found] = re.findall(rf"^## {title}\b.*?(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


@cache
def defined(path: str) -> frozenset[str]:
    """Functions, classes, their members and constants of a file."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        found |= set(_names(node))
        if isinstance(node, ast.ClassDef):
            for member in ast.walk(node):
                found |= {f"{node.name}.{name}" for name in _names(member)}
    return frozenset(found)


def _names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [_target(target) for target in node.targets]
    return [_target(node.target)] if isinstance(node, ast.AnnAssign) else []


def _target(node: ast.expr) -> str:
    """``x`` of ``x = ...`` and of ``self.x = ...``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[f"{p}::{n}" for p, n in NAMED])
def test_what_is_named_exists(path: str, name: str) -> None:
    """A function, class, member, constant or test of that file."""
    assert name in defined(path)


def test_every_section_of_the_curriculum_is_mapped() -> None:
    """1.1 to 14.2, none left out."""
    found = {row[0].split()[0] for number in SECTIONS for row in rows(section(f"{number} "))}
    assert found == {f"{n}.{m}" for n, count in SECTIONS.items() for m in range(1, count + 1)}


@pytest.mark.parametrize("number", SECTIONS)
def test_every_concept_has_its_verdict_and_its_test(number: int) -> None:
    """What is the same or different is shown by a test, or by a command that measures it."""
    for row in rows(section(f"{number} ")):
        assert len(row) == 5, row
        [verdict] = [each for each in VERDICTS if each in row[3]]
        if verdict == "*not here*":
            assert len(row[3]) > len(verdict) or "none" in row[2], f"{row[0]}: why?"
        else:
            shown = r"`tests/[\w/]+\.py::test_\w+`|`make \w+`"
            assert re.search(shown, row[4]), row[0]


@pytest.mark.parametrize("job", JOBS)
def test_every_clause_is_in_the_sql(job: str) -> None:
    """As it stands in the runnable files; clauses without SQL are in plain words."""
    sql = " ".join(
        " ".join((ROOT / "docs" / "flink" / name).read_text().split()) for name in JOBS[job]
    )
    clauses = [row[1] for row in rows(section(job)) if row[1].startswith("`")]
    assert len(clauses) > 5
    for clause in clauses:
        assert " ".join(clause.strip("`").split()) in sql, clause
    for row in rows(section(job)):
        assert any(verdict in row[3] for verdict in VERDICTS), row
