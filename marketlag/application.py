"""The app: ``faust -A marketlag worker`` and the ``marketlag`` command both run this one."""

import click

from marketlag.engine.app import App
from marketlag.errors import MarketLagError
from marketlag.kafka import check_topics
from marketlag.markets import Markets, load_markets
from marketlag.settings import Settings, load_settings


def _configured() -> tuple[Settings, Markets]:
    try:
        settings = load_settings()
        return settings, load_markets(settings.markets)
    except MarketLagError as exc:
        # Faust's command line shows this as one line, without a traceback.
        raise click.UsageError(str(exc)) from None


settings, markets = _configured()

app = App(
    settings,
    check_before_start=lambda: check_topics(settings),
    origin="marketlag",
    autodiscover=["agents", "marketlag.commands"],
)
