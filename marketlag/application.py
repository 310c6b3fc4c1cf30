"""The app: ``faust -A marketlag worker`` and the ``marketlag`` command both run this one."""

import click

from marketlag.engine.app import App
from marketlag.errors import MarketLagError
from marketlag.kafka import check_topics
from marketlag.markets import Markets, load_markets
from marketlag.settings import Settings, load_settings


def _configured() -> tuple[Settings, Markets, App]:
    try:
        settings = load_settings()
        markets = load_markets(settings.markets)
        app = App(
            settings,
            check_before_start=lambda: check_topics(settings),
            origin="marketlag",
            autodiscover=["agents", "tables", "producers.service", "marketlag.commands"],
        )
        return settings, markets, app
    except MarketLagError as exc:
        # Faust's command line shows this as one line, without a traceback.
        raise click.UsageError(str(exc)) from None


settings, markets, app = _configured()
