"""The newest price of each outcome of a market, and the market as Polymarket describes it.

=========  ==========================================================================
key        ``[market_slug]``
value      ``producers.state.MarketFact``
partition  that of the slug as a key; its owner asks for the market's prices
written    by ``producers/prices.py``, after the hour's prices are in Kafka
retention  none: one fact a market
changelog  ``<APP_ID>-last_prices-changelog``, compacted
=========  ==========================================================================
"""

from marketlag.application import app
from marketlag.engine.tables import KeyedTable
from producers.state import MarketFact

last_prices = KeyedTable(app, "last_prices", MarketFact)
app.tables.add(last_prices)
