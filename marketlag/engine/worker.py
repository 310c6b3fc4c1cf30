"""The worker process: looks before it starts, and says in one line what is wrong."""

from typing import Any, NoReturn

import click
import faust
from faust.cli.base import State

from marketlag.errors import MarketLagError


class Worker(faust.Worker):
    """Faust's worker. Installed by the setting ``Worker`` of the app."""

    def __init__(self, app: Any, *args: Any, **kwargs: Any) -> None:
        if not app.prints_banner:
            kwargs["quiet"] = True
            # The command prints the banner, and asks this state whether to.
            context = click.get_current_context(silent=True)
            if context is not None:
                context.ensure_object(State).quiet = True
        super().__init__(app, *args, **kwargs)

    def execute_from_commandline(self) -> NoReturn:
        app: Any = self.app
        try:
            self.loop.run_until_complete(app.check_before_start())
        except MarketLagError as exc:
            click.echo(f"Error: {exc}", err=True)
            raise SystemExit(1) from None
        super().execute_from_commandline()
