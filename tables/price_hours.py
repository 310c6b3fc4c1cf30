"""The best price of a market's tracked outcome in one hour.

=========  ==========================================================================
key        ``[market_slug, [start, end]]``, the hour in seconds (Faust's key)
value      ``rules.facts.PriceFact``: not stale before stale, then the latest ``fetched_at``, then
           the later source offset
window     tumbling, 1 h
written    by ``agents/lag.py`` alone, when a price arrives
retention  until both topics' committed clocks are ``STATE_TTL`` past the hour
changelog  ``<APP_ID>-price_hours-changelog``, compacted
=========  ==========================================================================
"""

from datetime import timedelta

from faust import TumblingWindow

from marketlag.application import app
from marketlag.engine.tables import FactTable
from marketlag.rules.facts import PriceFact

price_hours = FactTable(app, "price_hours", PriceFact, TumblingWindow(timedelta(hours=1)))
app.tables.add(price_hours)
