"""The documentation says what the code does."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from faust.cli.base import cli
from pydantic import SecretStr

import marketlag.commands.backfill
import marketlag.commands.demo
import marketlag.commands.dlq
import marketlag.commands.doctor
import marketlag.commands.export
import marketlag.commands.graph
import marketlag.commands.markets
import marketlag.commands.migrate
import marketlag.commands.notify
import marketlag.commands.produce
import marketlag.commands.prune
import marketlag.commands.replay
import marketlag.commands.topics
import marketlag.commands.worker  # noqa: F401 - the commands register themselves
from marketlag.application import app
from marketlag.settings import PREFIX, Settings, load_settings
from marketlag.topics import TABLES, changelog, topic_specs
from tests.chaos import report

ROOT = Path(__file__).parents[2]
OURS = (
    "backfill",
    "demo",
    "dlq",
    "doctor",
    "export",
    "graph",
    "markets",
    "migrate",
    "notify",
    "produce",
    "prune",
    "replay",
    "topics",
)


def default_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, timedelta):
        for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
            count, rest = divmod(value, timedelta(seconds=size))
            if count and not rest:
                return f"`{count}{unit}`"
        return f"`{value // timedelta(milliseconds=1)}ms`" if value else "`0`"
    return f"`{value}`"


def test_every_setting_is_documented() -> None:
    """With its default and its description, in the order of the code, and no other one."""
    wanted = [
        f"| `{PREFIX}{name.upper()}` | {default_of(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    text = (ROOT / "docs" / "settings.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("| `MARKETLAG_")] == wanted


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_documented(name: str) -> None:
    """With each of its options."""
    text = (ROOT / "docs" / "commands.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    [described] = [part for part in section if part.startswith(f"`{name}`")]
    command = cli.commands[name]
    below = command.commands if isinstance(command, click.Group) else {}
    for each in (command, *below.values()):
        for parameter in each.params:
            if isinstance(parameter, click.Option):
                for option in [*parameter.opts, *parameter.secondary_opts]:
                    assert f"`{option}`" in described, option
    for sub in below:
        assert f"marketlag {name} {sub}" in described


@pytest.mark.parametrize("name", [*OURS, "worker"])
def test_every_command_helps_with_examples(name: str) -> None:
    """Each on a line of its own."""
    command = cli.commands[name]
    below = list(command.commands.values()) if isinstance(command, click.Group) else [command]
    for each in below:
        lines = [line.strip() for line in each.get_help(click.Context(each)).splitlines()]
        at = next(place for place, line in enumerate(lines) if line in ("Example:", "Examples:"))
        assert re.match(r"(MARKETLAG_\w+=\S+ )?(marketlag|faust -A marketlag) ", lines[at + 1])


def test_the_tables_have_their_changelogs_among_the_topics() -> None:
    """`marketlag topics` creates what the tables write to."""
    app.discover()
    assert {table.changelog_topic_name for table in app.tables.values()} == {
        changelog(load_settings(), table) for table in TABLES
    }


def test_every_topic_is_documented() -> None:
    """With its retention."""
    text = (ROOT / "docs" / "topics.md").read_text()
    for spec in topic_specs(load_settings()):
        kept = "compacted" if spec.retention is None else f"{spec.retention // 86_400_000} d"
        assert re.search(rf"^\| `{re.escape(spec.name)}` \|.*\| {kept} \|$", text, re.MULTILINE), (
            spec
        )


@pytest.mark.parametrize(
    "path", ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
)
def test_every_file_that_is_named_exists(path: str) -> None:
    """Links and paths in backquotes, below the checkout's root."""
    text = (ROOT / path).read_text()
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    quoted = re.findall(
        r"`((?:marketlag|agents|tables|producers|migrations|tests|docs|bench|deploy)/[\w./-]+\.[a-z]\w*)`",
        text,
    )
    for name in linked:
        assert (ROOT / Path(path).parent / name).exists(), name
    for name in quoted:
        assert (ROOT / name).exists(), name


def test_the_table_of_reliability_is_made_from_the_results() -> None:
    """`make reliability` would change nothing."""
    document = report.DOCUMENT.read_text()
    assert report.rewritten(document, report.read_results()) == document
