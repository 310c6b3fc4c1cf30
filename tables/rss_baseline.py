"""What is usual for a market: the 24 hours before each of its windows.

=========  ==========================================================================
key        ``[market_slug, [start, end]]``, the hopping window in seconds (Faust's key)
value      ``rules.baseline.Baseline``: windows with articles, mean and deviation of their signals
window     hopping, 24 h by the setting ``WINDOW``; of all that there are, those are written that
           end where a window with articles begins, since no other is ever asked for
written    by ``agents/lag.py`` alone, with the window's fact and whenever one before it changes
retention  until both topics' committed clocks are ``STATE_TTL`` and an hour past its end
changelog  ``<APP_ID>-rss_baseline-changelog``, compacted
=========  ==========================================================================
"""

from datetime import timedelta

from faust import HoppingWindow

from marketlag.application import app, settings
from marketlag.engine.tables import FactTable
from marketlag.rules.baseline import BASELINE_MS, Baseline

rss_baseline = FactTable(
    app,
    "rss_baseline",
    Baseline,
    HoppingWindow(timedelta(milliseconds=BASELINE_MS), settings.window),
)
app.tables.add(rss_baseline)
