"""The hour's aggregate: one closed window of one market.

=========  ==========================================================================
key        ``[market_slug, [start, end]]``, the tumbling window in seconds (Faust's key)
value      ``rules.facts.HourFact``: the signal, and LAG and max carried on to it
window     tumbling, of the setting ``WINDOW``; assigned and closed by Job 1
written    by ``agents/lag.py`` alone, when a window's signal arrives or changes
retention  until both topics' committed clocks are ``STATE_TTL``, a day and an hour past it; the
           newest window before that stays for one more ``STATE_TTL``, since LAG and max are carried
           on from it
changelog  ``<APP_ID>-rss_hours-changelog``, compacted
=========  ==========================================================================
"""

from faust import TumblingWindow

from marketlag.application import app, settings
from marketlag.engine.tables import FactTable
from marketlag.rules.facts import HourFact

rss_hours = FactTable(app, "rss_hours", HourFact, TumblingWindow(settings.window))
app.tables.add(rss_hours)
