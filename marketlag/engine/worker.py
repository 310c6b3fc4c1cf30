"""The worker process: looks before it starts, and says in one line what is wrong."""

from typing import Any, NoReturn

import click
import faust

from marketlag.errors import MarketLagError


class Worker(faust.Worker):
    """Faust's worker. Installed by the setting ``Worker`` of the app."""

    def execute_from_commandline(self) -> NoReturn:
        app: Any = self.app
        try:
            self.loop.run_until_complete(app.check_before_start())
        except MarketLagError as exc:
            click.echo(f"Error: {exc}", err=True)
            raise SystemExit(1) from None
        super().execute_from_commandline()
