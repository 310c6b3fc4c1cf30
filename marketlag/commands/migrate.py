"""``marketlag migrate``."""

import click

from marketlag.application import settings
from marketlag.commands import command
from marketlag.migrate import migrate


@command(name="migrate")
def migrate_command() -> None:
    """Bring the schema in Postgres up to date. Safe to run from several places at once.

    \b
    Example:
      MARKETLAG_POSTGRES_DSN=postgresql://me:secret@db/marketlag marketlag migrate
    """
    applied = migrate(settings.postgres_dsn.get_secret_value())
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("the schema was up to date")
