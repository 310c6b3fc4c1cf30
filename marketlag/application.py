"""The app: ``faust -A marketlag worker`` and the ``marketlag`` command both run this one."""

import click

from marketlag.engine.app import App
from marketlag.errors import MarketLagError
from marketlag.kafka import check_topics
from marketlag.markets import Markets, load_markets
from marketlag.notify.channels import Channel, load_channels
from marketlag.notify.notifier import sender
from marketlag.settings import Settings, load_settings


async def _check(settings: Settings, channels: list[Channel]) -> None:
    for channel in channels:
        sender(channel)
    await check_topics(settings)


def _configured() -> tuple[Settings, Markets, list[Channel], App]:
    try:
        settings = load_settings()
        markets = load_markets(settings.markets)
        channels = load_channels(settings.notify)
        app = App(
            settings,
            check_before_start=lambda: _check(settings, channels),
            origin="marketlag",
            autodiscover=[
                *("agents", "tables", "producers.service", "marketlag.notify.service"),
                "marketlag.commands",
            ],
        )
        return settings, markets, channels, app
    except MarketLagError as exc:
        # Faust's command line shows this as one line, without a traceback.
        raise click.UsageError(str(exc)) from None


settings, markets, channels, app = _configured()
