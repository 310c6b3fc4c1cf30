"""The worker process: looks before it starts, and says in one line what is wrong."""

import sys
from typing import Any, NoReturn

import faust

from marketlag.errors import MarketLagError


class Worker(faust.Worker):
    """Faust's worker. Installed by the setting ``Worker`` of the app."""

    def execute_from_commandline(self) -> NoReturn:
        app: Any = self.app
        try:
            self.loop.run_until_complete(app.check_before_start())
        except MarketLagError as exc:
            print(f"Error: {exc}", file=sys.stderr)
            raise SystemExit(1) from None
        super().execute_from_commandline()
