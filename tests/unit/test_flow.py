"""The dataflow as it is declared, and as it is drawn."""

import re
from pathlib import Path

import pytest

from marketlag.application import app, settings
from marketlag.commands.graph import SIDE_OUTPUTS
from marketlag.engine.flow import Part, mermaid
from marketlag.topics import TABLES, changelog, topic_specs

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def _everything_is_loaded() -> None:
    app.discover()


def test_a_flow_is_drawn_from_its_outside_on() -> None:
    """Each thing once, in the shape of its kind; hidden topics are left out."""
    parts = [
        Part("job", reads=("in",), writes=("out", "dlq.in"), tables=("hours",), stores=("rows",)),
        Part("poll", writes=("in",), sources=("feeds",)),
    ]
    assert mermaid(parts, hidden=["dlq.in"]).splitlines() == [
        "flowchart LR",
        "    source_feeds([feeds]) --> agent_poll[poll]",
        "    agent_poll[poll] --> topic_in[/in/]",
        "    topic_in[/in/] --> agent_job[job]",
        "    agent_job[job] <-.-> table_hours[(hours)]",
        "    agent_job[job] --> topic_out[/out/]",
        "    agent_job[job] --> store_rows[(Postgres rows)]",
    ]
    assert "dlq_in" in mermaid(parts)


def test_every_topic_and_table_is_in_the_flow() -> None:
    """Written by somebody and, but for the side outputs and what others may want, read."""
    written = {topic for part in app.parts for topic in part.writes}
    read = {topic for part in app.parts for topic in part.reads}
    kept = [table for part in app.parts for table in part.tables]
    changelogs = {changelog(settings, table) for table in TABLES}
    assert {spec.name for spec in topic_specs(settings)} == written | changelogs
    assert read <= written
    assert written - read == {*SIDE_OUTPUTS, "polymarket.market_meta"}
    # One writer a table.
    assert sorted(kept) == sorted(TABLES)


def test_the_picture_in_the_readme_is_the_one_that_is_printed() -> None:
    """`marketlag graph` as it is now."""
    [drawn] = re.findall(r"```mermaid\n(.*?)\n```", README.read_text(), re.DOTALL)
    assert drawn == mermaid(app.parts, hidden=SIDE_OUTPUTS)
