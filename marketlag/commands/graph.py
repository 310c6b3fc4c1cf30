"""``marketlag graph``."""

import click

from marketlag.application import app
from marketlag.commands import command
from marketlag.engine.flow import mermaid
from marketlag.topics import REFUSING, RSS_LATE, dlq

#: Where records go that nobody works on: they hang on everything and hide the flow.
SIDE_OUTPUTS = (*(dlq(topic) for topic in REFUSING), RSS_LATE)


@command(name="graph")
@click.option("--all", "everything", is_flag=True, help="With the DLQs and rss.late.")
def graph(everything: bool) -> None:
    """Print the dataflow as Mermaid: topics, agents and tables as the app declares them.

    \b
    Examples:
      marketlag graph > flow.mmd
      marketlag graph --all
    """
    app.discover()
    click.echo(mermaid(app.parts, hidden=() if everything else SIDE_OUTPUTS))
