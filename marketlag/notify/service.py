"""The notifications inside of a worker. Several workers share the work through Postgres."""

import asyncio

from marketlag.application import app, channels, markets, settings
from marketlag.notify.notifier import make_notifiers


@app.task  # type: ignore[untyped-decorator]  # Faust's own
async def notify() -> None:
    """Tell of flagged hours, if anybody wants to know."""
    questions = {market.slug: market.question for market in markets.market}
    notifiers = make_notifiers(channels, settings, questions)
    await asyncio.gather(*(notifier.run(lambda: app.should_stop) for notifier in notifiers))
